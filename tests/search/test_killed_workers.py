"""A worker that is killed, stopped or interrupted loses nothing but the steps since its last checkpoint: the study ends
as if nothing had been."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest

from memx.recipe import Recipe
from memx.search.folder import SearchFolder
from memx.search.lineage import counted, history
from memx.search.rows import Trial
from memx.search.start import attach, start
from memx.search.storage import open_storage
from memx.search.study import standing
from memx.search.trial import Trials
from memx.search.worker import Worker

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")

TRIALS = 2
SOON = ("--heartbeat", 1)
"""A worker that is gone is missed after three seconds."""


@dataclass
class Disturbed:
    """A search in processes of its own, and whether one worker finds the same that is never disturbed."""

    recipe: Path
    out: Path
    process: Any
    same: Callable[[optuna.Study], bool]

    def begin(self, *words: object, **options: Any) -> Any:
        return self.process("search", self.recipe, "--out", self.out, *words, **options)

    def begin_and_save(self, *words: object) -> Any:
        """A worker that has saved its first trial and is still at it."""
        worker = self.begin(*words)
        self.process.until(self.has_checkpoint(0), worker)
        return worker

    def has_checkpoint(self, number: int) -> Callable[[], bool]:
        return (self.out / f"trials/{number:04d}/last/training_state.pt").exists

    def study(self) -> optuna.Study:
        storage = open_storage(f"sqlite:///{self.out / 'study.db'}", heartbeat=1)
        return optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)

    def rows(self) -> Sequence[Trial]:
        return standing(self.study(), SearchFolder.open(self.out).recipe(), self.out).trials

    def is_as_if_nothing_had_been(self) -> bool:
        return self.same(self.study())


Disturb = Callable[[int], Disturbed]


@pytest.fixture
def disturb(
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    process: Any,
    found: Callable[..., Any],
    same_found: Callable[..., bool],
    tmp_path: Path,
) -> Disturb:
    """`disturb(2)`: a search of two trials."""

    def make(trials: int) -> Disturbed:
        out, alone = tmp_path / "out", undisturbed(trials)
        return Disturbed(write_search(trials=trials), out, process, lambda study: same_found(alone, found(out, study)))

    return make


def test_another_worker_goes_on_with_the_trial_of_one_that_was_killed(disturb: Disturb) -> None:
    search = disturb(TRIALS)
    victim = search.begin_and_save(*SOON)
    victim.kill(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert search.study().trials[0].state == optuna.trial.TrialState.RUNNING, "it was killed too late"
    other = search.begin(*SOON)
    assert other.wait() == 0, other.said()
    assert search.is_as_if_nothing_had_been()
    row = search.rows()[0]
    assert row.state == "taken_over"
    assert row.run is None
    assert "went on with its run" in row.reason
    trials = search.study().trials
    assert counted(trials) == TRIALS
    later = next(trial for trial in trials if history(trial) == [0])
    first = min((search.out / f"trials/{later.number:04d}").rglob("*.yaml"), key=lambda path: path.stat().st_mtime)
    assert first.stat().st_mtime < later.datetime_start.timestamp(), "the run was begun anew"
    assert not (search.out / "trials/0000").exists()


def test_a_worker_that_was_stopped_too_long_finds_its_trial_taken_and_does_no_harm(disturb: Disturb) -> None:
    """It wakes when the other worker has finished its trial, or is still at it: once each."""
    search = disturb(TRIALS)
    sleeper = search.begin_and_save(*SOON)
    sleeper.kill(signal.SIGSTOP)
    other = search.begin(*SOON)
    search.process.until(
        lambda: any(history(trial) and search.has_checkpoint(trial.number)() for trial in search.study().trials), other
    )
    other.kill(signal.SIGSTOP)
    sleeper.kill(signal.SIGCONT)  # both are alive now, the one that sleeps and the one that woke
    assert sleeper.wait() == 0, sleeper.said()
    other.kill(signal.SIGCONT)
    assert other.wait() == 0, other.said()
    assert search.is_as_if_nothing_had_been()
    states = [row.state for row in search.rows()]
    assert states.count("complete") == TRIALS
    assert states.count("taken_over") == len(states) - TRIALS >= 1
    folders = {path.name for path in (search.out / "trials").iterdir()}
    assert folders == {f"{row.number:04d}" for row in search.rows() if row.state == "complete"}


@pytest.mark.slow
def test_one_of_two_workers_is_killed_and_then_their_parent_is_told_to_end(disturb: Disturb) -> None:
    """The other worker goes on; SIGTERM saves and exits with 143; the same command goes on to the end."""
    search = disturb(4)
    parent = search.begin(*SOON, "--workers", 2, environment={"OMP_NUM_THREADS": "1"})  # as many as there are here
    search.process.until(lambda: search.has_checkpoint(0)() and search.has_checkpoint(1)(), parent)
    children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(children) == 2
    os.kill(children[0], signal.SIGKILL)
    search.process.until(lambda: any(row.state == "complete" for row in search.rows()), parent)
    assert parent.poll() is None, "it ended with one of its workers"
    parent.kill(signal.SIGTERM)
    assert parent.wait() == 128 + signal.SIGTERM, parent.said()
    assert "the same command goes on with it" in parent.said()
    for pid in children:
        assert not Path(f"/proc/{pid}").exists()
    last = search.begin(*SOON)
    assert last.wait() == 0, last.said()
    assert search.is_as_if_nothing_had_been()
    assert counted(search.study().trials) == 4
    assert "taken_over" in [row.state for row in search.rows()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_worker_that_is_told_to_end_saves_and_the_same_command_goes_on(
    number: signal.Signals, disturb: Disturb
) -> None:
    search = disturb(TRIALS)
    interrupted = search.begin_and_save()  # at sixty seconds' patience: what was saved is not waited for
    interrupted.kill(number)
    assert interrupted.wait() == 128 + number, interrupted.said()
    assert "the same command goes on with it" in interrupted.said()
    assert [row.state for row in search.rows()] == ["taken_over", "waiting"]
    again = search.begin()
    assert again.wait() == 0, again.said()
    assert search.is_as_if_nothing_had_been()


def test_trials_that_died_where_no_heartbeat_tells_are_found(disturb: Disturb, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that died before its first sign of life, and one that died before it had queued a trial again."""
    search = disturb(3)
    recipe = Recipe.load(search.recipe)
    start(recipe, out=search.out, heartbeat=1)
    study = search.study()
    study.ask()  # and no more was heard of it
    study.tell(study.ask().number, state=optuna.trial.TrialState.FAIL)
    monkeypatch.setattr("memx.search.worker._LOOK", 0.05)
    started = attach(recipe, SearchFolder.open(search.out), heartbeat=1)
    Worker(started.study, Trials(recipe, started.folder)).run()
    assert search.is_as_if_nothing_had_been()
    assert [row.state for row in started.standing().trials][:2] == ["taken_over"] * 2


def test_a_trial_that_two_workers_queue_again_is_run_once(
    write_search: Callable[..., Path], no_reports: None, found: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = Recipe.load(write_search(trials=1), ["train.iterations=1"])
    started = start(recipe, out=tmp_path / "out")
    worker = Worker(started.study, Trials(recipe, started.folder))
    started.study.tell(started.study.ask().number, state=optuna.trial.TrialState.FAIL)
    for _ in range(2):
        worker._survivors.requeue(0)
    worker.run()
    assert len(found(started.folder.path, started.study)) == 1
    assert [row.state for row in started.standing().trials] == ["taken_over", "complete"]


def test_a_trial_whose_workers_die_is_not_queued_again_for_ever(
    write_search: Callable[..., Path], no_reports: None, tmp_path: Path
) -> None:
    recipe = Recipe.load(write_search(trials=1, retries=1))
    started = start(recipe, out=tmp_path / "out")
    worker = Worker(started.study, Trials(recipe, started.folder))
    for _ in range(2):
        started.study.tell(started.study.ask().number, state=optuna.trial.TrialState.FAIL)
        worker._survivors.queue_again()
    assert [row.state for row in started.standing().trials] == ["taken_over", "failed"]
