"""`memx inspect RUN CLIP`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device


def inspect(
    run: Annotated[Path, typer.Argument(help="A run folder, or a .safetensors file of memx.")],
    words: Annotated[
        list[str],
        typer.Argument(metavar="CLIP", help="A clip: NIfTI, MHD, AVI, MP4, DICOM or a folder of images."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; none: inspect/<run>_<clip>.", show_default=False)
    ] = None,
    crop: Annotated[
        str, typer.Option(help="auto: show the model the ultrasound sector only | none: the whole frame")
    ] = "auto",
    steps: Annotated[
        int,
        typer.Option(
            min=0, help="Also train a copy in memory for so many steps and record the gradients to the gates; 0: none."
        ),
    ] = 0,
    start: Annotated[
        str,
        typer.Option(
            help="Where --steps start: fresh: as the run did, its own first steps | trained: the run's weights"
        ),
    ] = "fresh",
    device: Device = "auto",
) -> None:
    """Show what a memory does on a clip: gates and their gradients, the state's norm and rank, and what is read where.

    Gradients on the clip need its true masks: the clip must be a file of the run's data set (data.root=… says where).
    """
    from rich.console import Console

    from memx.cli.common import pick_device, split_overrides
    from memx.cli.inspection import run_inspection
    from memx.errors import UserError, unknown

    if crop not in ("auto", "none"):
        raise UserError(unknown("crop", crop, ["auto", "none"]))
    if start not in ("fresh", "trained"):
        raise UserError(unknown("start", start, ["fresh", "trained"]))
    if start == "trained" and not steps:
        raise UserError("--start trained says where --steps start; say how many, e.g. --steps 100")
    inputs, overrides = split_overrides(words)
    if len(inputs) != 1:
        raise UserError(f"memx inspect takes one clip, got {len(inputs)}: {' '.join(inputs) or 'none'}")
    found, report = run_inspection(
        run, Path(inputs[0]), out, overrides, crop == "auto", steps, start == "trained", pick_device(device)
    )
    console = Console(highlight=False, markup=False)
    for note in found.notes:
        console.print(f"note   {note}", soft_wrap=True)
    console.print(f"report {report}", soft_wrap=True)
