"""Before and after training: every case is read before anything is written, and the run's report is written last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from memx.data.clip import Case, Layout
from memx.data.dataset import ClipDataset
from memx.engine.checkpoint import load_checkpoint, restore
from memx.engine.datasets import find_cases, training_set
from memx.engine.evaluate import evaluate
from memx.engine.history import History
from memx.engine.run import RunFolder
from memx.engine.summary import write_training_report
from memx.errors import DataError
from memx.recipe import Recipe

OnCase = Callable[[int, int], object]
"""Called with the cases done and those there are."""


def check_cases(recipe: Recipe, on_case: OnCase = lambda done, total: None) -> ClipDataset:
    """Read every training and validation case; all bad ones are reported at once, as one DataError.

    Returns the training set, whose cache holds what was read.
    """
    clips = training_set(recipe)
    layout, held_out = find_cases(recipe, "val")
    tasks: list[Callable[[], frozenset[int]]] = [partial(clips.prepare, case) for case in range(len(clips.cases))]
    tasks += [partial(_label_values, layout, case) for case in held_out]
    problems: list[str] = []
    seen: set[int] = set()
    for done, task in enumerate(tasks, start=1):
        try:
            seen |= task()
        except DataError as error:
            problems.append(str(error))
        on_case(done, len(tasks))
    if problems:
        shown = [*problems[:20], *([f"… and {len(problems) - 20} more"] if len(problems) > 20 else [])]
        head = [f"{len(problems)} clips of {recipe.data.root} cannot be used:"] if len(problems) > 1 else []
        raise DataError("\n".join([*head, *shown]))
    for name, values in recipe.data.structures.items():
        if not seen & set(values):
            raise DataError(
                f"{recipe.data.root}: no mask has a label of data.structures.{name} ({', '.join(map(str, values))}); "
                f"the masks have {', '.join(map(str, sorted(seen)))}"
            )
    return clips


def _label_values(layout: Layout, case: Case) -> frozenset[int]:
    clip = layout.load(case)
    return frozenset() if clip.labels is None else frozenset(clip.labels.unique().tolist())


def write_run_report(run: RunFolder, history: History, device: str, on_case: OnCase = lambda done, total: None) -> Path:
    """The run's `report.html`, with what its best weights do on the validation patients."""
    recipe, tensors = load_checkpoint(run.path)
    model = restore(recipe, tensors, str(run.weights)).to(device)
    validation = evaluate(model, recipe, "val", device=device, on_case=on_case)
    return write_training_report(run, history, validation)
