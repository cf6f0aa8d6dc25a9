"""A study: opened or joined by the question it asks, and read as plain data."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from memx.engine.checkpoint import differences
from memx.errors import UserError
from memx.recipe import Recipe
from memx.search.experimental import accepted
from memx.search.lineage import is_surplus, taken_over
from memx.search.measures import Constraint
from memx.search.requeue import ENDED, INTERRUPTED
from memx.search.rows import Goal, Standing, State, Trial
from memx.search.section import Search
from memx.search.strategy import make_pruner

ASKED = "memx_asks"
ID = "memx_id"
RECIPE = "memx_recipe"
RUN, MEASURES, REASON = "memx_run", "memx_measures", "memx_reason"
CURVE = "memx_validation_dice"
BY = "memx_by"
"""Names of a study's and a trial's user attributes."""


def run_name(number: int) -> str:
    """The run folder of a trial within its search's folder; the first thing that its worker says of it."""
    return f"trials/{number:04d}"


_BUDGET = ("trials", "time", "retries")


def asks(recipe: Recipe) -> dict[str, Any]:
    """What decides the trials: the recipe without its name and budget, and when it is validated: `dice` is the best of
    these times, and pruners go by them."""
    search = search_of(recipe).model_dump(mode="json")
    asked = {key: value for key, value in search.items() if key not in _BUDGET}
    decisive = recipe.decisive()
    decisive["train"]["validate_every"] = recipe.train.validate_every
    return {"recipe": decisive, "plugins": recipe.plugin_digests, "search": asked}


def digest(recipe: Recipe) -> str:
    """Twelve hexadecimal digits of `asks`."""
    return hashlib.sha256(json.dumps(asks(recipe), sort_keys=True).encode()).hexdigest()[:12]


def search_of(recipe: Recipe) -> Search:
    """Its `search:`. Raises UserError where it has none."""
    if recipe.search is None:
        raise UserError(
            f"recipe {recipe.name} has no `search:`; write one (see recipes/search_memory.yaml), e.g.\n"
            "search:\n  space:\n    model.memory: {choice: [linear, gated_delta, softmax]}"
        )
    return recipe.search


def join(recipe: Recipe, storage: BaseStorage, name: str) -> tuple[optuna.Study, bool]:
    """The study of that name, made if it is not there yet; and whether it was made.

    Raises UserError when the study asks something else, naming where.
    """
    search = search_of(recipe)
    pruner = make_pruner(search, recipe.train.iterations)
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=[objective.where for objective in search.objectives],
            pruner=pruner,
        )
        _ask(study, recipe)
        return study, True
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
    told = _told(study)
    if told is None:
        begun = any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
        if begun or [direction.name.lower() for direction in study.directions] != [o.where for o in search.objectives]:
            raise UserError(f"study {name!r} is not one of memx: it says nothing of a recipe; choose another --study")
        _ask(study, recipe)  # the process that made it was killed while it did
        return study, True
    refuse_other(f"study {name!r}", told, recipe)
    return study, False


def refuse_other(what: str, told: dict[str, Any], recipe: Recipe) -> None:
    """Raise UserError where what is there asks something else than the recipe, naming where."""
    if told != (ours := json.loads(json.dumps(asks(recipe)))):
        places = ", ".join(differences(told, ours, "")[:8])
        raise UserError(
            f"{what} asks something else; it differs in {places}. Give the same recipe, or another --study or --out"
        )


def _ask(study: optuna.Study, recipe: Recipe) -> None:
    """Write into a new study what it asks; that it does comes last, and may be written twice."""
    search = search_of(recipe)
    with accepted():
        study.set_metric_names([objective.measure for objective in search.objectives])
    study.set_user_attr(ID, study.user_attrs.get(ID, uuid4().hex))
    study.set_user_attr(RECIPE, json.dumps(recipe.dump()))
    for combination in search.first if search.sampler != "grid" else []:  # whose order begins with them
        study.enqueue_trial(combination, skip_if_exists=True)
    study.set_user_attr(ASKED, json.dumps(asks(recipe)))


def _told(study: optuna.Study) -> dict[str, Any] | None:
    """What a study asks, once it says so; it may still be in the making by another process."""
    for _ in range(50):
        if ASKED in study.user_attrs:
            return json.loads(study.user_attrs[ASKED])
        time.sleep(0.1)
    return None


def recipe_of(study: optuna.Study) -> Recipe:
    """The recipe that a study was made with.

    Raises UserError where it needs plug-ins: whoever can write to a data base would say what code is run here.
    """
    if RECIPE not in study.user_attrs:
        raise UserError(f"study {study.study_name!r} is not one of memx: it says nothing of a recipe")
    data = json.loads(study.user_attrs[RECIPE])
    if data.get("plugins"):
        raise UserError(
            f"study {study.study_name!r} needs plug-ins ({', '.join(map(str, data['plugins']))}), and no code that a "
            "data base names is run; give the search's folder: memx search --show FOLDER"
        )
    return Recipe.from_dict(data)


def workers_of(study: optuna.Study) -> dict[str, str]:
    """How many processes took trials, and on what: the processor with the threads that a trial had, or the GPU."""
    by = [trial.user_attrs[BY] for trial in study.get_trials(deepcopy=False) if BY in trial.user_attrs]
    processes = {(one["host"], one["process"]) for one in by}
    devices = dict.fromkeys(one["device"] for one in by)
    return {"workers": str(len(processes)), "device": "; ".join(devices) or "none yet"}


def standing(study: optuna.Study, recipe: Recipe, folder: Path | None) -> Standing:
    """The study as it stands; `folder` is that of its runs. A trial that was taken up again has its run no more."""
    search = search_of(recipe)
    trials = study.get_trials(deepcopy=False)
    later = taken_over(trials)
    goals = tuple(
        Goal(objective.measure, objective.where, objective.found.unit, objective.found.title)
        for objective in search.objectives
    )
    rows = tuple(
        _row(trial, search.limits, folder, trials[later[trial.number]] if trial.number in later else None)
        for trial in trials
        if not is_surplus(trial)
    )
    return Standing(study.study_name, goals, tuple(search.constraints), rows, search.trials)


_STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def _row(trial: FrozenTrial, limits: Sequence[Constraint], folder: Path | None, later: FrozenTrial | None) -> Trial:
    reason = str(trial.user_attrs.get(REASON, ""))
    state = _STATES[trial.state]
    if later is not None:
        stopped = "it was interrupted" if trial.user_attrs.get(ENDED) == INTERRUPTED else "its worker stopped"
        goes = "will go" if later.state == TrialState.WAITING else "went"
        state, reason = "taken_over", reason or f"{stopped}; trial {later.number} {goes} on with its run"
    elif state == "pruned" and reason:
        state = "refused"
    elif state == "failed" and not reason:
        reason = str(trial.user_attrs.get(ENDED, "its worker died"))
    measures: dict[str, float] = trial.user_attrs.get(MEASURES, {})
    known = [limit.holds(measures[limit.measure.name]) for limit in limits if limit.measure.name in measures]
    begun, ended = trial.datetime_start, trial.datetime_complete
    return Trial(
        number=trial.number,
        state=state,
        parameters=dict(trial.params),
        measures=dict(measures),
        curve=tuple(sorted({**trial.intermediate_values, **dict(trial.user_attrs.get(CURVE, []))}.items())),
        seconds=None if begun is None else ((ended or datetime.now()) - begun).total_seconds(),
        feasible=False if not all(known) else True if len(known) == len(limits) else None,
        run=_run(trial, folder),
        reason=reason,
    )


def _run(trial: FrozenTrial, folder: Path | None) -> Path | None:
    """The trial's run folder, where it has come to one and it lies here."""
    if folder is None or RUN not in trial.user_attrs:
        return None
    path = folder / trial.user_attrs[RUN]
    return path if (path / "recipe.yaml").is_file() else None
