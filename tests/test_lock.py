"""A folder is held by one process, however that one ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memx import lock
from memx.errors import UserError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
Forked = Callable[[Callable[[], object]], int]


def test_a_second_holder_is_told_who_holds_it_and_the_file_goes_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with lock.held(folder, "trains this run"):
        assert json.loads((folder / lock.NAME).read_text())["process"] == os.getpid()
        for _ in range(2):  # being refused does no harm to the one that holds it
            refused = pytest.raises(UserError, match=rf"run: process {os.getpid()} on .* trains this run; wait")
            with refused, lock.held(folder, "trains this run"):
                pass
    assert not list(folder.iterdir())
    with lock.held(folder, "trains this run"):
        pass


def test_a_killed_process_holds_nothing_even_where_its_children_live_on(tmp_path: Path, forked: Forked) -> None:
    def hold() -> None:
        with lock.held(tmp_path / "run", "trains this run"):
            if os.fork() == 0:
                time.sleep(3)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(hold) == -signal.SIGKILL
    assert (tmp_path / "run" / lock.NAME).exists()
    with lock.held(tmp_path / "run", "trains this run"):
        pass


def test_one_that_is_removed_while_another_waits_is_not_held_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is opened, then removed by the one that held it, then locked: a lock on a file that nobody finds."""
    opened: list[int] = []
    locking = lock._lock

    def late(handle: int, path: Path) -> None:
        if not opened:
            path.unlink()
        opened.append(handle)
        locking(handle, path)

    monkeypatch.setattr(lock, "_lock", late)
    with lock.held(tmp_path, "trains this run"):
        assert len(opened) == 2
        assert (tmp_path / lock.NAME).exists()


def test_a_file_system_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    def refuse(handle: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), lock.held(tmp_path, "trains this run"):
        assert "cannot be locked (Function not implemented); see to it" in caplog.text
