"""`memx import SYSTEM CHECKPOINT --out RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Overrides

app = typer.Typer(help="Turn a checkpoint of another program into a run folder.", no_args_is_help=True)


@app.command("gdkvm")
def gdkvm(
    checkpoint: Annotated[
        Path, typer.Argument(help="A released .pth (state dict or training checkpoint), or a safetensors file.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    overrides: Overrides = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Which equations the weights are run with: gdkvm_rerelease | gdkvm_release_2025, or a recipe file."
        ),
    ] = "gdkvm_rerelease",
) -> None:
    """Import GDKVM's released weights: a run folder for `memx eval`, `memx predict`, `memx export` and `memx.load`.

    No code of the file is run. A checkpoint with missing, surplus or misshapen tensors is refused, by name.
    """
    from rich.console import Console

    from memx.engine.gdkvm_import import import_gdkvm
    from memx.recipe import Recipe

    run, notes = import_gdkvm(checkpoint, Recipe.load(recipe, overrides or []), out)
    console = Console(highlight=False, markup=False)
    for note in notes:
        console.print(f"{note}.", soft_wrap=True)
    console.print(f"weights {run.weights}\nreport  {run.path / 'report.html'}", soft_wrap=True)
