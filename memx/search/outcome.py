"""What a search leaves: the best recipe or one a point of the Pareto front, a table and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna

from memx.files import write_text
from memx.recipe import Recipe
from memx.search.folder import SearchFolder
from memx.search.importance import importances
from memx.search.report import write_search_report
from memx.search.rows import Standing, Trial
from memx.search.space import Node, Scalar, Space
from memx.search.study import search_of
from memx.search.variant import variant


def recipe_of_trial(recipe: Recipe, trial: Trial) -> Recipe:
    """The recipe that a trial trained, named after it."""
    space = Space.parse(search_of(recipe).space)

    def decided(node: Node) -> Scalar:
        return trial.parameters[node.name]

    named = variant(recipe, space.resolve(decided), name=f"{recipe.name}_{trial.number:04d}")
    shown = ", ".join(f"{name} {value:g}" for name, value in trial.measures.items())
    return named.model_copy(update={"description": f"Trial {trial.number} of {recipe.name}: {shown}."})


def write_recipes(folder: SearchFolder, recipe: Recipe, standing: Standing) -> list[Path]:
    """`best.yaml`, or with several objectives `pareto/trial_<number>.yaml` for every point of the front.

    Recipes of an earlier front that are in it no longer are removed.
    """
    best = standing.best()
    if len(standing.goals) == 1:
        if not best:
            return []
        write_text(folder.best, recipe_of_trial(recipe, best[0]).to_yaml())
        return [folder.best]
    wanted = {folder.pareto / f"trial_{trial.number:04d}.yaml": trial for trial in best}
    for path, trial in wanted.items():
        write_text(path, recipe_of_trial(recipe, trial).to_yaml())
    for old in folder.pareto.glob("trial_*.yaml"):
        if old not in wanted:
            old.unlink(missing_ok=True)  # another process may have been faster
    return list(wanted)


@dataclass(frozen=True)
class Outcome:
    """What was written."""

    recipes: tuple[Path, ...]
    report: Path


def write_outcome(
    folder: SearchFolder, recipe: Recipe, study: optuna.Study, standing: Standing, facts: Mapping[str, str]
) -> Outcome:
    """Write the winners' recipes, `trials.csv` and `report.html` into the folder."""
    recipes = write_recipes(folder, recipe, standing)
    report = write_search_report(
        folder.path / "report.html",
        standing,
        importances(study, standing.goals),
        facts=facts,
        recipe_yaml=recipe.to_yaml(),
    )
    return Outcome(tuple(recipes), report)
