"""The same seed and one worker give the same study, also where it is interrupted and goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from memx.recipe import Recipe
from memx.search.lineage import origin
from memx.search.start import Started, attach, start
from memx.search.trial import Trials
from memx.search.worker import Worker

pytestmark = pytest.mark.usefixtures("no_reports")


def rows(started: Started) -> list[dict[str, Any]]:
    """All that a study says of its trials but numbers and times, in the order in which they were first begun."""
    origins = {trial.number: origin(trial) for trial in started.study.get_trials(deepcopy=False)}
    kept = [trial for trial in started.standing().trials if trial.state != "taken_over"]
    kept.sort(key=lambda trial: origins[trial.number])
    return [
        {"state": t.state, "parameters": t.parameters, "measures": t.measures, "curve": t.curve, "reason": t.reason}
        for t in kept
    ]


def interrupted_search(recipe: Recipe, out: Path, at: Callable[[int], int]) -> Started:
    """A search that is begun anew after every interruption: once in each trial, after `at(trial)` of its steps."""
    done: set[int] = set()
    folder = start(recipe, out=out).folder
    while True:
        started = attach(recipe, folder)

        def stop(trial: optuna.Trial, step: Any) -> None:
            place = origin(trial.study.get_trials(deepcopy=False)[trial.number])
            if place not in done and step.iteration >= at(len(done)):
                done.add(place)
                raise KeyboardInterrupt

        try:
            Worker(started.study, Trials(recipe, started.folder, on_step=stop)).run()
        except KeyboardInterrupt:
            continue
        assert done, "nothing was interrupted"
        return started


@pytest.mark.parametrize(
    "search",
    [
        {"sampler": "tpe", "trials": 5, "startup": 2, "pruner": "median"},
        {"sampler": "random", "trials": 3},
        {"sampler": "nsga2", "trials": 5, "startup": 2, "objectives": ["dice", "parameters"]},
        {"sampler": "grid", "space": {"model.memory": {"choice": ["linear", "softmax", "none"]}}, "trials": 9},
        {"sampler": "random", "trials": 3, "first": [{"model.memory": "softmax"}, {}]},
    ],
    ids=["tpe", "random", "nsga2", "grid", "first"],
)
def test_a_search_that_is_interrupted_in_every_trial_is_the_unbroken_one(
    write_search: Callable[..., Path], tmp_path: Path, search: dict[str, Any]
) -> None:
    recipe = Recipe.load(write_search(**search), ["train.iterations=4", "train.validate_every=2"])
    whole = start(recipe, out=tmp_path / "whole")
    Worker(whole.study, Trials(recipe, whole.folder)).run()
    broken = interrupted_search(recipe, tmp_path / "broken", at=lambda place: 1 + place % 4)
    assert rows(whole) == rows(broken)
    assert [row.state for row in broken.standing().trials].count("taken_over") >= len(rows(whole)) - 1
    assert len(rows(whole)) == (3 if search["sampler"] == "grid" else search["trials"])


def test_seeds_and_trials_have_draws_of_their_own(write_search: Callable[..., Path], tmp_path: Path) -> None:
    """Neither two trials nor two seeds draw the same learning rate."""
    rates = []
    for seed in (0, 1):
        recipe = Recipe.load(write_search(seed=seed), ["train.iterations=1"])
        started = start(recipe, out=tmp_path / str(seed))
        Worker(started.study, Trials(recipe, started.folder)).run()
        rates += [trial.parameters["train.learning_rate"] for trial in started.standing().trials]
    assert len(set(rates)) == 6
