"""What ends a trial, what ends its worker, and what becomes of the trial."""

from __future__ import annotations

import errno
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from memx.engine.interruption import raising
from memx.errors import UserError
from memx.profile.components import UncountedError
from memx.recipe import Recipe
from memx.search.lineage import SURPLUS, history
from memx.search.start import Started, start
from memx.search.trial import Trials
from memx.search.worker import DEFECTS, Worker

pytestmark = [pytest.mark.usefixtures("no_reports"), pytest.mark.filterwarnings("ignore:Heartbeat of storage")]

Begin = Callable[..., tuple[Started, Worker]]


@pytest.fixture
def begin(write_search: Callable[..., Path], tmp_path: Path) -> Begin:
    """A search of trials of one step or a few, and a worker for it; `on_step` is called after each."""

    def make(
        *, steps: int = 1, on_step: Callable[..., None] = lambda trial, step: None, **search: Any
    ) -> tuple[Started, Worker]:
        recipe = Recipe.load(write_search(**{"trials": 2} | search), [f"train.iterations={steps}"])
        started = start(recipe, out=tmp_path / "out")
        return started, Worker(started.study, Trials(recipe, started.folder, on_step=on_step))

    return make


def states(started: Started) -> list[str]:
    return [row.state for row in started.standing().trials]


def test_a_trial_that_is_taken_in_its_last_report_is_left_to_the_other(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that its worker had still to do was to say that it has ended."""
    taken: list[int] = []

    def report(run: Any, *others: Any) -> Path:
        if not taken:
            running = next(t for t in started.study.trials if t.state == TrialState.RUNNING)
            taken.append(running.number)
            started.study.tell(running.number, state=TrialState.FAIL)
            worker._survivors.requeue(running.number)
        return run.path / "report.html"

    monkeypatch.setattr("memx.search.trial.write_run_report", report)
    started, worker = begin()
    worker.run()
    assert taken == [0]
    assert sorted(states(started)) == ["complete", "complete", "taken_over"]


def test_interruptions_are_no_deaths(begin: Begin) -> None:
    def stop(trial: optuna.Trial, step: Any) -> None:
        raise KeyboardInterrupt

    started, worker = begin(steps=9, on_step=stop, trials=1, retries=1)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            worker.run()
    assert states(started) == ["taken_over"] * 4 + ["waiting"]
    for left in (["taken_over"] * 5 + ["waiting"], ["taken_over"] * 5 + ["failed"]):
        started.study.tell(started.study.ask().number, state=TrialState.FAIL)  # its worker dies
        worker._survivors.queue_again()
        assert states(started) == left


def test_what_is_wrong_with_the_machine_ends_the_worker_and_not_the_trial(begin: Begin) -> None:
    """But a trial that ends worker after worker is given up, with what they said."""

    def full(trial: optuna.Trial, step: Any) -> None:
        raise UserError("the disk is full\nwhat else there is to say")

    started, worker = begin(steps=9, on_step=full, trials=1, retries=1)
    for left in (["taken_over", "waiting"], ["taken_over", "failed"]):
        with pytest.raises(UserError, match="the disk is full"):
            worker.run()
        assert states(started) == left
    assert started.standing().trials[1].reason == "the disk is full"
    worker.run()
    assert states(started) == ["taken_over", "failed"]


def test_a_defect_ends_its_trial_and_the_search_goes_on(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(trial: optuna.Trial, step: Any) -> None:
        if trial.number == 1:
            raise RuntimeError("shapes (3) and (4) differ\nin a long story")

    started, worker = begin(on_step=crash, trials=3)
    with caplog.at_level(logging.ERROR):
        worker.run()
    assert states(started) == ["complete", "failed", "complete"]
    assert started.standing().trials[1].reason == "RuntimeError: shapes (3) and (4) differ"
    assert "Traceback" in caplog.text
    assert "in a long story" in caplog.text


def test_a_defect_of_every_trial_ends_the_search(begin: Begin) -> None:
    def crash(trial: optuna.Trial, step: Any) -> None:
        raise RuntimeError("nothing works")

    started, worker = begin(on_step=crash, trials=9)
    with pytest.raises(RuntimeError, match="nothing works"):
        worker.run()
    assert states(started) == ["failed"] * DEFECTS
    worker._survivors.queue_again()  # the last may be tried again: it is hardly its own fault
    assert states(started) == ["failed"] * (DEFECTS - 1) + ["taken_over", "waiting"]


def test_data_that_a_trial_itself_asks_for_are_its_own(begin: Begin) -> None:
    """Those that the search began with are all trials', and end it."""
    space = {"data.structures": {"choice": [{"lv": [1]}, {"lv": [9]}]}}
    first = [{"data.structures": "{lv: [9]}"}, {"data.structures": "{lv: [1]}"}]
    started, worker = begin(space=space, first=first)
    worker.run()
    assert states(started) == ["failed", "complete"]
    assert "'lv' wants label 9, which this layout does not have" in started.standing().trials[0].reason


def test_data_that_are_gone_end_the_worker(begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started, worker = begin()
    root = worker.trials.recipe.data.root
    assert root is not None
    gone = worker.trials.recipe.model_copy(
        update={"data": worker.trials.recipe.data.model_copy(update={"root": tmp_path / "gone"})}
    )
    worker.trials.recipe = gone
    with pytest.raises(UserError, match="gone"):
        worker.run()
    assert states(started) == ["taken_over", "waiting"]


def test_data_that_are_gone_are_no_trials_fault_where_trials_ask_for_their_own(begin: Begin, tmp_path: Path) -> None:
    started, worker = begin(space={"data.frames": {"choice": [2, 3]}})
    recipe = worker.trials.recipe
    data = recipe.data.model_copy(update={"root": tmp_path / "gone"})
    worker.trials.recipe = recipe.model_copy(update={"data": data})
    with pytest.raises(UserError, match="gone"):
        worker.run()
    assert states(started) == ["taken_over", "waiting"]


def test_what_the_system_refuses_ends_the_worker(begin: Begin) -> None:
    def many(trial: optuna.Trial, step: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    started, worker = begin(steps=9, on_step=many, trials=1)
    with pytest.raises(OSError, match="Too many open files"):
        worker.run()
    assert states(started) == ["taken_over", "waiting"]


def test_arithmetic_that_nobody_asked_for_may_be_uncounted(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def uncounted(*words: Any) -> None:
        raise UncountedError("a component reports nothing")

    monkeypatch.setattr("memx.search.costs.count_frame", uncounted)
    started, worker = begin(trials=1)
    worker.run()
    (trial,) = started.standing().trials
    assert trial.state == "complete"
    assert sorted(trial.measures) == ["dice", "parameters", "state_bytes"]


def test_arithmetic_that_is_an_objective_must_be_counted(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def uncounted(*words: Any) -> None:
        raise UncountedError("a component reports nothing")

    monkeypatch.setattr("memx.search.costs.count_frame", uncounted)
    started, worker = begin(trials=1, objectives=["dice", "macs"])
    worker.run()
    (trial,) = started.standing().trials
    assert (trial.state, trial.reason) == ("failed", "a component reports nothing")


def test_a_storage_that_goes_away_does_not_fail_the_trial(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker ends; its trial stays as it is, to be found by its silence."""

    def lost(self: Any, *words: Any, **named: Any) -> None:
        raise StorageInternalError("gone")

    def cut(trial: optuna.Trial, step: Any) -> None:
        monkeypatch.setattr("optuna.storages.RDBStorage.set_trial_state_values", lost)
        monkeypatch.setattr("optuna.storages.RDBStorage.set_trial_intermediate_value", lost)

    started, worker = begin(on_step=cut)
    with pytest.raises(StorageInternalError):
        worker.run()
    monkeypatch.undo()
    assert states(started) == ["running"]
    assert history(started.study.trials[0]) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_optuna_proposes_gives_the_trial_back(
    number: signal.Signals, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def propose(*words: Any) -> None:
        signal.raise_signal(number)

    started, worker = begin(trials=1)
    with monkeypatch.context() as patched, raising():
        patched.setattr("memx.search.strategy.SeededSampler.infer_relative_search_space", propose)
        with pytest.raises(KeyboardInterrupt):
            worker.run()
    assert states(started) == ["taken_over", "waiting"]
    worker.run()
    assert states(started) == ["taken_over", "complete"]


def test_a_signal_while_optuna_tells_gives_the_trial_back(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(*words: Any) -> None:
        raise KeyboardInterrupt

    started, worker = begin(trials=1)
    with monkeypatch.context() as patched:
        patched.setattr("memx.search.strategy.SeededSampler.after_trial", tell)
        with pytest.raises(KeyboardInterrupt):
            worker.run()
    assert started.study.trials[0].state.is_finished()
    worker.run()
    assert sum(row.state == "complete" for row in started.standing().trials) == 1


def test_a_trial_that_failed_by_itself_is_not_given_back(begin: Begin) -> None:
    """The signal came just after it had ended."""
    started, worker = begin(trials=1)
    trial = started.study.ask()
    trial.set_user_attr("memx_reason", "the loss became nan")
    started.study.tell(trial.number, state=TrialState.FAIL)
    worker._at_hand = trial.number
    worker._queue_again()
    assert states(started) == ["failed"]


def test_a_trial_that_was_measured_and_not_yet_refused_is_refused_by_the_next(begin: Begin) -> None:
    started, worker = begin(trials=1, constraints=["state_bytes < 10"], space={"model.memory": {"choice": ["linear"]}})
    trial = started.study.ask()
    worker.trials.draw(trial)
    trial.set_user_attr("memx_measures", {"state_bytes": 99.0, "macs": 1.0, "parameters": 1.0})
    started.study.tell(trial.number, state=TrialState.FAIL)  # its worker dies here
    worker.run()
    first, second = started.standing().trials
    assert (first.state, second.state) == ("taken_over", "refused")
    assert second.reason == "state_bytes is 99, not < 10"
    assert started.study.trials[1].constraints == {"state_bytes < 10": pytest.approx(8.9)}


def test_a_trial_has_as_many_steps_as_it_says_for_the_pruner_too(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of twice as many steps as the base may be pruned after those, and one of half as many not at its last."""
    asked: list[int] = []

    def prune(self: Any, study: Any, trial: Any) -> bool:
        asked.append(trial.last_step)
        return False

    monkeypatch.setattr("optuna.pruners.MedianPruner.prune", prune)
    space = {"train.iterations": {"choice": [4, 16]}}
    first = [{"train.iterations": 4}, {"train.iterations": 16}]
    started, worker = begin(steps=8, space=space, first=first, pruner="median", startup=1)
    worker.run()
    assert states(started) == ["complete"] * 2
    assert asked == [4, 8, 12]


def test_a_grid_outlives_a_worker_that_died_before_it_drew(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"model.memory": {"choice": ["linear", "softmax"]}}
    started, worker = begin(space=space, sampler="grid")
    started.study.ask()
    monkeypatch.setattr("memx.search.survivors.GRACE", 0)
    worker.run()
    assert sorted(states(started)) == ["complete", "complete", "taken_over"]


def test_a_worker_too_many_at_the_end_of_a_grid_gives_way(begin: Begin) -> None:
    """Three begin trials of a grid of two."""
    space = {"model.memory": {"choice": ["linear", "softmax"]}}
    started, worker = begin(space=space, sampler="grid")
    drawn = [worker.trials.draw(started.study.ask()) for _ in range(2)]
    worker._one()
    assert [SURPLUS in trial.user_attrs for trial in started.study.trials] == [False, False, True]
    assert drawn[0] != drawn[1]


def test_a_grid_has_first_ones_that_are_the_same_once(begin: Begin) -> None:
    space = {"model.memory": {"choice": ["linear", "softmax"]}, "model.value_dim": {"choice": [8, 16]}}
    first = [{"model.memory": "softmax"}, {"model.value_dim": 8, "model.memory": "softmax"}, {"model.value_dim": 8}]
    started, worker = begin(space=space, sampler="grid", first=first, trials=9)
    worker.run()
    found = [tuple(sorted(trial.parameters.items())) for trial in started.standing().trials]
    assert len(found) == len(set(found)) == 4
    assert dict(found[0])["model.memory"] == "softmax"


@pytest.mark.parametrize("pruner", ["percentile", "halving", "hyperband"])
def test_every_pruner_lets_trials_train(pruner: str, begin: Begin) -> None:
    started, worker = begin(steps=8, pruner=pruner, startup=1, trials=3)
    worker.run()
    assert set(states(started)) <= {"complete", "pruned"}
    assert "complete" in states(started)


def test_a_gaussian_process_proposes(begin: Begin) -> None:
    started, worker = begin(
        sampler="gp", startup=2, trials=4, space={"train.learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    )
    worker.run()
    rates = [trial.parameters["train.learning_rate"] for trial in started.standing().trials]
    assert len(set(rates)) >= 3
    assert all(1e-4 * 0.999 <= float(rate) <= 1e-2 * 1.001 for rate in rates)
