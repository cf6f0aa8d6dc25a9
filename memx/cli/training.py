"""Train with a progress bar: what `memx train` and `memx demo` share."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from memx.cli.progress import bar
from memx.data.dataset import ClipDataset
from memx.engine import processes
from memx.engine.checkpoint import load_training_state
from memx.engine.datasets import find_cases
from memx.engine.fit import check_cases, write_run_report
from memx.engine.history import History
from memx.engine.interruption import raising, saying
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.recipe import Recipe


def run_training(
    recipe: Recipe, *, run: RunFolder | None = None, out: Path | None = None, device: str = "cpu"
) -> RunFolder:
    """Train into a new folder, or go on with `run`, with a bar on the terminal; returns the run folder.

    A run whose steps are all done is not trained; its report is written where there is none yet. Of several processes
    all train, and the first does the rest.
    """
    processes.join(device)
    console = Console(stderr=True, highlight=False, markup=False, quiet=not processes.is_first())
    if run is None and out is not None:
        processes.first_only(partial(RunFolder.refuse_taken, out))
    with raising(), ExitStack() as held:
        history = None if run is None else processes.on_first(partial(_finished, run, recipe))
        if run is not None and history is not None:
            console.print(f"{run.path}: all {recipe.train.iterations} steps are done; nothing to train", soft_wrap=True)
            _hold(run, held)
            whole = all((run.path / name).exists() for name in ("report.html", "metrics.json"))
            return _finish(run, device, console, None if whole else history)
        with saying(lambda: "interrupted while the data were checked; nothing was trained or written"):
            # The other processes read clips when they need them.
            clips = processes.first_only(partial(check_data, recipe))
        folder = run or RunFolder(out or processes.on_first(partial(RunFolder.free_path, recipe)))
        _hold(folder, held)
        return _finish(folder, device, console, _train(recipe, folder, run is None, clips, device, console))


def _hold(run: RunFolder, held: ExitStack) -> None:
    """Take the run's lock; the first process has it for all."""

    def take() -> None:
        held.enter_context(run.lock())

    processes.first_only(take)


def _train(
    recipe: Recipe, run: RunFolder, new: bool, clips: ClipDataset | None, device: str, console: Console
) -> History:
    """Train from the first step, or the last checkpoint, to the end."""
    best: list[str] = ["–"]
    if new:
        processes.first_only(partial(RunFolder.create, recipe, run.path))
    try:
        console.print(f"{recipe.name} {recipe.hash} on {device} → {run.path}", soft_wrap=True)
        fresh = new or processes.on_first(lambda: run.untrained)
        if fresh and not new:
            console.print("it had ended before its first checkpoint: from the first step")
        with bar("training", recipe.train.iterations, "steps", console=console) as advance:
            seen = 0

            def show(step: Step) -> None:
                nonlocal seen
                if step.validation_dice is not None:
                    best[0] = f"{step.validation_dice:.3f}"
                advance(note=f"loss {step.loss:.3f}  validation Dice {best[0]}", steps=step.iteration - seen)
                seen = step.iteration

            trainer = Trainer(recipe, run, device=device, pretrained=fresh, on_step=show, clips=clips)
            if not fresh:
                trainer.restore()
                seen = trainer.iteration
                advance(note="resumed", steps=seen, before=True)
            with saying(lambda: _at_once(run)):
                trainer.run()
    except BaseException:
        if new and processes.is_first() and run.untrained:
            run.discard()  # nothing was kept of the training: the same command may be given again
        raise
    return trainer.history  # and not the trainer: its optimiser holds twice the memory of the model


def _finish(run: RunFolder, device: str, console: Console, history: History | None) -> RunFolder:
    """Write the report where there is a history for it, and say where things are."""
    if history is not None:
        with saying(
            lambda: (
                f"interrupted before the report; the weights are kept in {run.weights}. "
                f"The report is made by: memx train --resume {run.path}"
            )
        ):
            processes.first_only(partial(_report, run, device, history))
    console.print(f"weights {run.weights}\nreport  {run.path / 'report.html'}", soft_wrap=True)
    return run


def _report(run: RunFolder, device: str, history: History) -> None:
    _, held_out = find_cases(run.recipe, "val")
    with bar("validating the best weights", len(held_out), "clips") as advance:
        write_run_report(run, history, device, on_case=lambda done, total: advance())


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


def check_data(recipe: Recipe) -> ClipDataset:
    """Read every training and validation case, with a bar, before anything is written."""
    cases = sum(len(find_cases(recipe, split)[1]) for split in ("train", "val"))
    with bar("checking data", cases, "clips") as advance:
        return check_cases(recipe, on_case=lambda done, total: advance())
