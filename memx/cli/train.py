"""`memx train RECIPE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device, Overrides


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, or the name of one that travels with memx.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; none: runs/<date>_<name>_<hash>.", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this run folder; `auto`: with --out where a run is there, else start one there.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train a recipe into a run folder; validates, checkpoints, keeps the best weights and writes a report."""
    from memx.cli.common import pick_device, split_overrides
    from memx.cli.training import run_training
    from memx.engine import processes
    from memx.engine.checkpoint import refuse_other_recipe
    from memx.engine.run import RunFolder
    from memx.errors import UserError
    from memx.recipe import Recipe

    def chosen() -> tuple[Recipe, RunFolder | None]:
        if resume is None or str(resume) == "auto":
            if recipe is None:
                raise UserError("name a recipe, e.g. `memx train gdkvm_phantom`; `memx list recipe` shows them")
            if resume is not None and out is None:
                raise UserError("--resume auto needs --out: the run folder of the first start and of every other")
            asked = Recipe.load(recipe, overrides or [])
            if resume is None or out is None or not (out / "recipe.yaml").is_file():
                return asked, None
            run = RunFolder.open(out)
            refuse_other_recipe(run, asked)
            return asked, run
        if out is not None:
            raise UserError("--resume goes on in its own run folder; leave --out away")
        names, said = split_overrides([word for word in (recipe, *(overrides or [])) if word])
        if names:
            raise UserError(f"--resume takes the recipe from the run folder; leave {names[0]!r} away")
        run = RunFolder.open(resume)
        return Recipe.load(run.path / "recipe.yaml", said), run

    where = pick_device(device)
    processes.join(where)
    try:
        what, run = processes.together(chosen)
        run_training(what, run=run, out=out, device=where)
    except SystemExit:
        processes.let_the_first_speak()
        raise
    finally:
        processes.leave()
