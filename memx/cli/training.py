"""Train with a progress bar: what `memx train` and `memx demo` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from memx.cli.progress import bar
from memx.data.clip import Case, Layout
from memx.data.dataset import ClipDataset
from memx.engine.checkpoint import load_checkpoint, restore
from memx.engine.datasets import find_cases, training_set
from memx.engine.evaluate import Evaluation, evaluate
from memx.engine.run import RunFolder
from memx.engine.summary import write_training_report
from memx.engine.train import Step, Trainer
from memx.errors import DataError
from memx.recipe import Recipe


def run_training(
    recipe: Recipe, *, run: RunFolder | None = None, out: Path | None = None, device: str = "cpu", resume: bool = False
) -> RunFolder:
    """Train, or go on training, with a bar on the terminal; returns the run folder."""
    console = Console(stderr=True, highlight=False, markup=False)
    if run is None and out is not None:
        RunFolder.refuse_taken(out)
    clips = check_cases(recipe)
    created = run is None
    run = run or RunFolder.create(recipe, out)
    console.print(f"{recipe.name} {recipe.hash} on {device} → {run.path}", soft_wrap=True)
    best: list[str] = ["–"]
    try:
        with bar("training", recipe.train.iterations, "steps") as advance:

            def show(step: Step) -> None:
                if step.validation_dice is not None:
                    best[0] = f"{step.validation_dice:.3f}"
                advance(note=f"loss {step.loss:.3f}  validation Dice {best[0]}")

            trainer = Trainer(recipe, run, device=device, pretrained=not resume, on_step=show, clips=clips)
            if resume:
                trainer.restore()
                advance(note="resumed", steps=trainer.iteration)
            trainer.run()
    except BaseException:
        if created and not (run.training_state.exists() or run.best_weights.exists()):
            run.discard()  # nothing was kept of the training: the same command may be given again
        raise
    history = trainer.history
    del trainer  # its optimiser holds twice the memory of the model
    report = write_training_report(run, history, _validate(run, device))
    console.print(f"weights {run.weights}\nreport  {report}", soft_wrap=True)
    return run


def _validate(run: RunFolder, device: str) -> Evaluation:
    """The run's best weights on the validation patients, with the clips of the lowest Dice."""
    recipe, tensors = load_checkpoint(run.path)
    model = restore(recipe, tensors, str(run.weights)).to(device)
    _, cases = find_cases(recipe, "val")
    with bar("validating the best weights", len(cases), "clips") as advance:
        return evaluate(model, recipe, "val", device=device, on_case=lambda done, total: advance())


def check_cases(recipe: Recipe) -> ClipDataset:
    """Read every training and validation case before anything is written; all bad ones are reported at once.

    Returns the training set, whose cache holds what was read.
    """
    clips = training_set(recipe)
    layout, held_out = find_cases(recipe, "val")
    tasks: list[Callable[[], frozenset[int]]] = [partial(clips.prepare, case) for case in range(len(clips.cases))]
    tasks += [partial(_label_values, layout, case) for case in held_out]
    problems: list[str] = []
    seen: set[int] = set()
    with bar("checking data", len(tasks), "clips") as advance:
        for task in tasks:
            try:
                seen |= task()
            except DataError as error:
                problems.append(str(error))
            advance()
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
