"""Files appear whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from memx.errors import UserError
from memx.files import atomic, remove_parts, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "old")

    def spoil() -> None:
        with atomic(tmp_path / "x.txt") as part:
            part.write_text("ne")
            raise ValueError("spoilt")

    with pytest.raises(ValueError, match="spoilt"):
        spoil()
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_a_killed_process_leaves_is_known_and_removed(
    tmp_path: Path, forked: Callable[[Callable[[], object]], int]
) -> None:
    write_text(tmp_path / "x.txt", "old")

    def write() -> None:
        with atomic(tmp_path / "x.txt") as part:
            part.write_text("ne")
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(write) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    remove_parts(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_on_the_disk_before_it_takes_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """What a power cut leaves depends on this order alone."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if os.fstat(handle).st_mode & 0o040000 else "file")
        sync(handle)

    def replaced(old: Path, new: Path) -> None:
        done.append("name")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with atomic(tmp_path / "x.txt", durable=durable) as part:
        part.write_text("new")
    assert done == (["file", "name", "folder"] if durable else ["name"])


def test_a_file_that_may_not_be_that_large_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.txt: is larger than a file may be here"), atomic(tmp_path / "x.txt"):
        raise OSError(27, "File too large")
