"""Several workers of one command."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError

from memx.recipe import Recipe
from memx.search.start import start
from memx.search.workers import Workers


class Sleeping:
    """A process that has ended by the time that it is looked at for the third time."""

    returncode = 0

    def __init__(self, words: list[str], **options: Any):
        self.looks = 0

    def poll(self) -> int | None:
        self.looks += 1
        return 0 if self.looks > 2 else None

    def wait(self) -> int:
        return 0


def test_a_look_at_the_study_that_fails_stops_no_worker(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memx.search.workers.subprocess.Popen", Sleeping)
    monkeypatch.setattr("memx.search.workers._LOOK", 0)
    looks = []

    def show(force: bool) -> None:
        looks.append(force)
        raise StorageInternalError("the data base is away for a moment")

    started = start(Recipe.load(write_search()), out=tmp_path / "out")
    Workers(started, 2, "cpu", 1).run(show)
    assert len(looks) >= 2


def test_logs_of_several_commands_and_machines_have_names_of_their_own(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memx.search.workers.subprocess.Popen", Sleeping)
    monkeypatch.setattr("memx.search.workers._LOOK", 0)
    started = start(Recipe.load(write_search()), out=tmp_path / "out")
    monkeypatch.setattr(socket, "gethostname", lambda: "node/1")
    Workers(started, 2, "cpu", 1).run(lambda force: None)
    monkeypatch.setattr(socket, "gethostname", lambda: "node2")
    Workers(started, 1, "cpu", 1).run(lambda force: None)
    names = {path.name for path in (tmp_path / "out/workers").iterdir()}
    assert names == {f"node_1-{os.getpid()}-{i}.log" for i in (0, 1)} | {f"node2-{os.getpid()}-0.log"}


def test_a_study_that_goes_away_ends_the_command_with_a_sentence(
    write_search: Callable[..., Path], process: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    worker = process("search", write_search(), "train.iterations=2000", "--out", out)
    process.until((out / "trials/0000/last/training_state.pt").exists, worker)
    with sqlite3.connect(out / "study.db", timeout=60) as study:
        study.execute("DROP TABLE trial_intermediate_values")
    assert worker.wait() == 2
    said = " ".join(worker.said().split())
    assert "has gone away, or refuses: no such table: trial_intermediate_values" in said
    assert f"What was trained is kept in {out}" in said
    assert "Traceback" not in said
