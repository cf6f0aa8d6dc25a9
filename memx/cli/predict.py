"""`memx predict RUN INPUT… --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or a .safetensors file of memx.")],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…", help="Clips (NIfTI, MHD, AVI, MP4, DICOM, a folder of images) or folders of clips."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    crop: Annotated[
        str, typer.Option(help="auto: show the model the ultrasound sector only | none: the whole frame")
    ] = "auto",
    plain: Annotated[
        bool, typer.Option("--plain", help="Run the network as it was trained, without making it fast first.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Segment clips: masks in the clip's own kind, an overlay video, the area curve, ED, ES and EF, and a report."""
    from rich.console import Console

    from memx.cli.common import pick_device, split_overrides
    from memx.cli.prediction import prediction_table, run_prediction
    from memx.errors import UserError, unknown

    if crop not in ("auto", "none"):
        raise UserError(unknown("crop", crop, ["auto", "none"]))
    inputs, overrides = split_overrides(words)
    predictions, report = run_prediction(
        run, inputs, out, overrides, crop == "auto", pick_device(device), fast=not plain
    )
    console = Console(highlight=False)
    console.print(prediction_table(predictions))
    for sentence in predictions[0].network:
        console.print(sentence, soft_wrap=True)
    console.print(f"report {report}", soft_wrap=True)
