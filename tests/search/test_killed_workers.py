"""A worker that is killed, stopped or interrupted loses nothing but the steps since its last checkpoint: the study ends
as if nothing had been."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from memx.recipe import Recipe
from memx.search.folder import SearchFolder
from memx.search.lineage import counted, history
from memx.search.rows import Standing
from memx.search.start import attach, start
from memx.search.storage import open_storage
from memx.search.study import standing
from memx.search.trial import Trials
from memx.search.worker import Worker

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")

TRIALS = 2


def study_of(out: Path) -> optuna.Study:
    storage = open_storage(f"sqlite:///{out / 'study.db'}", heartbeat=1)
    return optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)


def standing_of(out: Path) -> Standing:
    return standing(study_of(out), SearchFolder.open(out).recipe(), out)


def has_checkpoint(out: Path, number: int) -> Callable[[], bool]:
    return (out / f"trials/{number:04d}/last/training_state.pt").exists


def test_another_worker_goes_on_with_the_trial_of_one_that_was_killed(
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    process: Any,
    found: Callable[..., Any],
    same_found: Callable[..., bool],
    tmp_path: Path,
) -> None:
    alone = undisturbed(TRIALS)
    recipe, out = write_search(trials=TRIALS), tmp_path / "out"
    words = ["search", recipe, "--out", out, "--heartbeat", 1]
    victim = process(*words)
    process.until(has_checkpoint(out, 0), victim)
    victim.kill(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert study_of(out).trials[0].state == optuna.trial.TrialState.RUNNING, "it was killed too late"
    other = process(*words)
    assert other.wait() == 0, other.said()
    assert same_found(alone, found(out, study_of(out)))
    rows = standing_of(out).trials
    assert rows[0].state == "taken_over"
    assert rows[0].run is None
    assert "went on with its run" in rows[0].reason
    assert counted(study_of(out).trials) == TRIALS
    later = next(trial for trial in study_of(out).trials if history(trial) == [0])
    first = min((out / f"trials/{later.number:04d}").rglob("*.yaml"), key=lambda path: path.stat().st_mtime)
    assert first.stat().st_mtime < later.datetime_start.timestamp(), "the run was begun anew"
    assert not (out / "trials/0000").exists()


def test_a_worker_that_was_stopped_too_long_finds_its_trial_taken_and_does_no_harm(
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    process: Any,
    found: Callable[..., Any],
    same_found: Callable[..., bool],
    tmp_path: Path,
) -> None:
    """It wakes when the other worker has finished its trial, or is still at it: once each."""
    alone = undisturbed(TRIALS)
    recipe, out = write_search(trials=TRIALS), tmp_path / "out"
    words = ["search", recipe, "--out", out, "--heartbeat", 1]
    sleeper = process(*words)
    process.until(has_checkpoint(out, 0), sleeper)
    sleeper.kill(signal.SIGSTOP)
    other = process(*words)
    process.until(
        lambda: any(history(trial) and has_checkpoint(out, trial.number)() for trial in study_of(out).trials), other
    )
    other.kill(signal.SIGSTOP)
    sleeper.kill(signal.SIGCONT)  # both are alive now, the one that sleeps and the one that woke
    assert sleeper.wait() == 0, sleeper.said()
    other.kill(signal.SIGCONT)
    assert other.wait() == 0, other.said()
    assert same_found(alone, found(out, study_of(out)))
    states = [row.state for row in standing_of(out).trials]
    assert states.count("complete") == TRIALS
    assert states.count("taken_over") == len(states) - TRIALS >= 1
    folders = {path.name for path in (out / "trials").iterdir()}
    assert folders == {f"{row.number:04d}" for row in standing_of(out).trials if row.state == "complete"}


@pytest.mark.slow
def test_one_of_two_workers_is_killed_and_then_their_parent_is_told_to_end(
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    process: Any,
    found: Callable[..., Any],
    same_found: Callable[..., bool],
    tmp_path: Path,
) -> None:
    """The other worker goes on; SIGTERM saves and exits with 143; the same command goes on to the end."""
    alone = undisturbed(4)
    recipe, out = write_search(trials=4), tmp_path / "out"
    words = ["search", recipe, "--out", out, "--heartbeat", 1]
    parent = process(*words, "--workers", 2, environment={"OMP_NUM_THREADS": "1"})  # as many as there are here
    process.until(lambda: has_checkpoint(out, 0)() and has_checkpoint(out, 1)(), parent)
    children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(children) == 2
    os.kill(children[0], signal.SIGKILL)
    process.until(lambda: any(row.state == "complete" for row in standing_of(out).trials), parent)
    assert parent.poll() is None, "it ended with one of its workers"
    parent.kill(signal.SIGTERM)
    assert parent.wait() == 128 + signal.SIGTERM, parent.said()
    assert "the same command goes on with it" in parent.said()
    for pid in children:
        assert not Path(f"/proc/{pid}").exists()
    last = process(*words)
    assert last.wait() == 0, last.said()
    assert same_found(alone, found(out, study_of(out)))
    assert counted(study_of(out).trials) == 4
    assert "taken_over" in [row.state for row in standing_of(out).trials]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_worker_that_is_told_to_end_saves_and_the_same_command_goes_on(
    number: signal.Signals,
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    process: Any,
    found: Callable[..., Any],
    same_found: Callable[..., bool],
    tmp_path: Path,
) -> None:
    alone = undisturbed(TRIALS)
    recipe, out = write_search(trials=TRIALS), tmp_path / "out"
    words = ["search", recipe, "--out", out]  # at sixty seconds' patience: what was saved is not waited for
    interrupted = process(*words)
    process.until(has_checkpoint(out, 0), interrupted)
    interrupted.kill(number)
    assert interrupted.wait() == 128 + number, interrupted.said()
    assert "the same command goes on with it" in interrupted.said()
    assert [row.state for row in standing_of(out).trials] == ["taken_over", "waiting"]
    again = process(*words)
    assert again.wait() == 0, again.said()
    assert same_found(alone, found(out, study_of(out)))


def test_trials_that_died_where_no_heartbeat_tells_are_found(
    write_search: Callable[..., Path],
    undisturbed: Callable[..., Any],
    found: Callable[..., Any],
    same_found: Callable[..., bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that died before its first sign of life, and one that died before it had queued a trial again."""
    alone = undisturbed(3)
    recipe, out = Recipe.load(write_search(trials=3)), tmp_path / "out"
    start(recipe, out=out, heartbeat=1)
    study = study_of(out)
    study.ask()  # and no more was heard of it
    study.tell(study.ask().number, state=optuna.trial.TrialState.FAIL)
    monkeypatch.setattr("memx.search.worker._LOOK", 0.05)
    started = attach(recipe, SearchFolder.open(out), heartbeat=1)
    Worker(started.study, Trials(recipe, started.folder)).run()
    assert same_found(alone, found(out, started.study))
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
