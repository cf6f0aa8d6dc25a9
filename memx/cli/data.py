"""`memx data …`: make and look at data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.data_check import check, info, split

app = typer.Typer(help="Make, check and split data sets.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Make, check and split data sets."""


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    layout: Annotated[
        str,
        typer.Option(help="camus: NIfTI, two views a patient | camus_mhd: CAMUS's older release | echonet: AVI + CSV"),
    ] = "camus",
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same patients.")] = 0,
    size: Annotated[
        int | None, typer.Option(min=64, help="Rows of a frame; none: 256, or 112 (echonet).", show_default=False)
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=2, help="Frames a clip; none: as heart and frame rate give.", show_default=False)
    ] = None,
    lost: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of frames, at most, in which part of the sector has no echoes.")
    ] = 0.0,
) -> None:
    """Write a phantom data set: simulated apical echocardiograms with exact masks and known ejection fractions."""
    from memx.cli.progress import bar
    from memx.data import phantom as phantoms
    from memx.errors import UserError, unknown

    if layout not in ("camus", "camus_mhd", "echonet"):
        raise UserError(unknown("layout", layout, ["camus", "camus_mhd", "echonet"]))
    with bar("phantom", patients, "patients") as advance:
        phantoms.write(
            out,
            layout=layout,
            patients=patients,
            seed=seed,
            size=size,
            frames=frames,
            lost=lost,
            progress=lambda done, total: advance(),
        )
    typer.echo(f"wrote {patients} patient{'s' * (patients > 1)} to {out} ({layout} layout, seed {seed})")


app.command("check")(check)
app.command("info")(info)
app.command("split")(split)
