"""What a run says of the code that made it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from memx.engine import manifest
from memx.engine.manifest import git_revision


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_users_own_files_are_no_change_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, "-C", str(tmp_path), *words], check=True, capture_output=True)

    code = tmp_path / "memx" / "engine" / "manifest.py"
    code.parent.mkdir(parents=True)
    code.write_text("x = 1\n")
    git("init")
    assert git_revision(code.parent) is None
    monkeypatch.setattr(manifest, "__file__", str(code))
    git("add", ".")
    git("commit", "-m", "first")
    found = git_revision(code.parent)
    assert found is not None
    assert (len(found["revision"]), found["dirty"]) == (40, False)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "mask.png").touch()
    assert git_revision(code.parent) == found
    (tmp_path / "memx" / "mine.py").touch()
    assert git_revision(code.parent) == {**found, "dirty": True}
    (tmp_path / "memx" / "mine.py").unlink()
    code.write_text("x = 2\n")
    assert git_revision(code.parent) == {**found, "dirty": True}
