"""Train with a progress bar: what `memx train` and `memx demo` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console

from memx.cli.progress import bar
from memx.data.clip import Case, Layout
from memx.data.dataset import ClipDataset
from memx.engine.checkpoint import load_checkpoint, load_training_state, restore
from memx.engine.datasets import find_cases, training_set
from memx.engine.evaluate import Evaluation, evaluate
from memx.engine.history import History
from memx.engine.interruption import raising, saying
from memx.engine.run import RunFolder
from memx.engine.summary import write_training_report
from memx.engine.train import Step, Trainer
from memx.errors import DataError
from memx.recipe import Recipe


def run_training(
    recipe: Recipe, *, run: RunFolder | None = None, out: Path | None = None, device: str = "cpu"
) -> RunFolder:
    """Train into a new folder, or go on with `run`, with a bar on the terminal; returns the run folder.

    A run whose steps are all done is not trained; its report is written where there is none yet.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if run is None and out is not None:
        RunFolder.refuse_taken(out)
    with raising():
        if run is not None and (history := _finished(run, recipe)) is not None:
            console.print(f"{run.path}: all {recipe.train.iterations} steps are done; nothing to train", soft_wrap=True)
            with _held(run):
                whole = all((run.path / name).exists() for name in ("report.html", "metrics.json"))
                return _finish(run, device, console, None if whole else history)
        with saying(lambda: "interrupted while the data were checked; nothing was trained or written"):
            clips = check_cases(recipe)
        folder = run or RunFolder(out or RunFolder.free_path(recipe))
        with _held(folder):
            return _finish(folder, device, console, _train(recipe, folder, run is None, clips, device, console))


def _train(recipe: Recipe, run: RunFolder, new: bool, clips: ClipDataset, device: str, console: Console) -> History:
    """Train from the first step, or the last checkpoint, to the end."""
    best: list[str] = ["–"]
    if new:
        RunFolder.create(recipe, run.path)
    try:
        console.print(f"{recipe.name} {recipe.hash} on {device} → {run.path}", soft_wrap=True)
        fresh = new or run.untrained
        if fresh and not new:
            console.print("it had ended before its first checkpoint: from the first step")
        with bar("training", recipe.train.iterations, "steps") as advance:

            def show(step: Step) -> None:
                if step.validation_dice is not None:
                    best[0] = f"{step.validation_dice:.3f}"
                advance(note=f"loss {step.loss:.3f}  validation Dice {best[0]}")

            trainer = Trainer(recipe, run, device=device, pretrained=fresh, on_step=show, clips=clips)
            if not fresh:
                trainer.restore()
                advance(note="resumed", steps=trainer.iteration)
            with saying(lambda: _at_once(run)):
                trainer.run()
    except BaseException:
        if new and run.untrained:
            run.discard()  # nothing was kept of the training: the same command may be given again
        raise
    return trainer.history  # and not the trainer: its optimiser holds twice the memory of the model


def _finish(run: RunFolder, device: str, console: Console, history: History | None) -> RunFolder:
    """Write the report where there is a history for it, and say where things are."""
    report = run.path / "report.html"
    if history is not None:
        with saying(
            lambda: (
                f"interrupted before the report; the weights are kept in {run.weights}. "
                f"The report is made by: memx train --resume {run.path}"
            )
        ):
            write_training_report(run, history, _validate(run, device))
    console.print(f"weights {run.weights}\nreport  {report}", soft_wrap=True)
    return run


def _finished(run: RunFolder, recipe: Recipe) -> History | None:
    """The history of a run that has made every step of this recipe."""
    if not run.training_state.exists() or run.recipe.hash != recipe.hash:
        return None
    state = load_training_state(run.training_state)
    done = state.get("iteration", 0) >= recipe.train.iterations and state.get("validated", True)
    return History(list(state["history"])) if done else None


def _at_once(run: RunFolder) -> str:
    if run.training_state.exists():
        return f"ended at once; go on from the last checkpoint with: memx train --resume {run.path}"
    return "ended at once, before the first checkpoint; nothing was kept"


def _held(run: RunFolder) -> AbstractContextManager[None]:
    """The run's lock; of the processes of torchrun the first has it for all."""
    return run.lock() if int(os.environ.get("RANK", "0")) == 0 else nullcontext()


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
