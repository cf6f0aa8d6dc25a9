"""`memx eval RUN`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device, Overrides


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder that `memx train` wrote.")],
    overrides: Overrides = None,
    split: Annotated[
        str | None, typer.Option(help="train, val or test; none: what the recipe says.", show_default=False)
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Folder of the results under RUN/eval; none: the split.", show_default=False),
    ] = None,
    device: Device = "auto",
) -> None:
    """Score a run on patients of a split: Dice, IoU, HD95, ASD and EF, with intervals over patients, and a report."""
    from rich.console import Console

    from memx.cli.common import pick_device
    from memx.cli.evaluation import run_evaluation
    from memx.engine.run import RunFolder
    from memx.errors import UserError, unknown

    folder = RunFolder.open(run)
    if split not in (None, "train", "val", "test"):
        raise UserError(unknown("split", split, ["train", "val", "test"]))
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(f"--name {name}: a folder's name has letters, digits, `_`, `.` and `-`")
    scores, report = run_evaluation(folder, overrides or [], split, pick_device(device), name=name)
    console = Console(highlight=False)
    console.print(scores.table())
    console.print(f"report {report}", soft_wrap=True)
