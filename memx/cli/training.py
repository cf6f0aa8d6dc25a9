"""Train with a progress bar: what `memx train` and `memx demo` share."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from memx.cli.progress import bar
from memx.engine.datasets import find_cases
from memx.engine.run import RunFolder
from memx.engine.summary import write_training_report
from memx.engine.train import Step, Trainer
from memx.recipe import Recipe


def run_training(
    recipe: Recipe, *, run: RunFolder | None = None, out: Path | None = None, device: str = "cpu", resume: bool = False
) -> RunFolder:
    """Train, or go on training, with a bar on the terminal; returns the run folder."""
    console = Console(stderr=True, highlight=False)
    for split in ("train", "val"):  # before anything is written
        find_cases(recipe, split)
    created = run is None
    run = run or RunFolder.create(recipe, out)
    console.print(f"[bold]{recipe.name}[/] {recipe.hash} on {device} → {run.path}")
    best: list[str] = ["–"]
    with bar("training", recipe.train.iterations, "steps", console=console) as advance:

        def show(step: Step) -> None:
            if step.validation_dice is not None:
                best[0] = f"{step.validation_dice:.3f}"
            advance(note=f"loss {step.loss:.3f}  validation Dice {best[0]}")

        try:
            trainer = Trainer(recipe, run, device=device, pretrained=not resume, on_step=show)
        except BaseException:
            if created:  # nothing has been trained: leave no empty run behind
                shutil.rmtree(run.path, ignore_errors=True)
            raise
        if resume:
            trainer.restore()
            advance(note="resumed", steps=trainer.iteration)
        trainer.run()
    report = write_training_report(run, trainer.history)
    console.print(f"weights {run.weights}\nreport  {report}")
    return run
