"""Evaluate with a progress bar: what `memx eval` and `memx demo` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memx.cli.common import refuse_training_overrides
from memx.cli.progress import bar
from memx.engine.checkpoint import load_checkpoint, restore
from memx.engine.datasets import find_cases
from memx.engine.evaluate import evaluate
from memx.engine.run import RunFolder
from memx.engine.summary import write_evaluation
from memx.metrics.scores import Scores


def run_evaluation(
    run: RunFolder, overrides: Sequence[str], split: str | None, device: str, *, name: str | None = None
) -> tuple[Scores, Path]:
    """Score a run's best weights on a split (None: the recipe's); returns the scores and the report's path.

    `name` is that of the folder under `eval` that the results go to; None: the split's.
    """
    refuse_training_overrides(overrides)
    recipe, tensors = load_checkpoint(run.path, overrides)
    split = split or recipe.evaluate.split
    model = restore(recipe, tensors, str(run.weights))
    _, cases = find_cases(recipe, split)
    with bar(f"evaluating {split}", len(cases), "clips") as advance:
        found = evaluate(model.to(device), recipe, split, device=device, on_case=lambda done, total: advance())
    return found.scores, write_evaluation(run, recipe, split, found, name=name)
