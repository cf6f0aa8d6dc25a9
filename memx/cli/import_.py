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
        str | None,
        typer.Option(
            help="Which equations the weights are run with: gdkvm_rerelease | gdkvm_release_2025, or a recipe file; "
            "none: those of the trainer that the file is of, and of the re-release where that is not known.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Import GDKVM's released weights: a run folder for `memx eval`, `memx predict`, `memx export` and `memx.load`.

    No code of the file is run. A checkpoint with missing, surplus or misshapen tensors is refused, by name.
    """
    from rich.console import Console

    from memx.engine.foreign import read_foreign
    from memx.engine.gdkvm_import import import_gdkvm, recipe_of
    from memx.engine.run import RunFolder
    from memx.recipe import Recipe

    RunFolder.refuse_taken(out)
    foreign = read_foreign(checkpoint)
    chosen = Recipe.load(recipe or recipe_of(foreign), overrides or [])
    run, notes = import_gdkvm(checkpoint, chosen, out, foreign=foreign)
    console = Console(highlight=False, markup=False)
    for note in notes:
        console.print(f"{note}.", soft_wrap=True)
    console.print(f"weights {run.weights}\nreport  {run.path / 'report.html'}", soft_wrap=True)
