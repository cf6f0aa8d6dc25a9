"""`memx check <recipes…>`: is a recipe right, does it build, and what does it weigh?"""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    words: Annotated[list[str], typer.Argument(metavar="RECIPE…", help="Recipes (files or names), and overrides.")],
) -> None:
    """Validate recipes, build their models and run them on a frame; every mistake is reported, with exit status 2."""
    import torch
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from memx.cli.common import split_overrides
    from memx.errors import UserError
    from memx.models.base import VideoModel
    from memx.models.build import build
    from memx.recipe import Recipe

    def step_once(model: VideoModel, recipe: Recipe) -> None:
        """A component from outside may build and still not run."""
        frame = torch.zeros(1, recipe.data.channels, 64, 64)
        try:
            with torch.no_grad():
                model.eval().step(frame, model.init_state(1, recipe.objects))
        except Exception as error:
            raise UserError(f"recipe {recipe.name} builds but does not run: {type(error).__name__}: {error}") from error

    def describe_data(recipe: Recipe) -> str:
        data = recipe.data
        return f"{recipe.dump()['data']['layout']['type']} {data.size[0]}×{data.size[1]}, {data.frames} frames"

    names, overrides = split_overrides(words)
    if not names:
        raise UserError("name at least one recipe, e.g. `memx check gdkvm_phantom`; `memx list recipe` shows them")
    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "hash", "parameters", "memory", "data"):
        table.add_column(column, justify="right" if column == "parameters" else "left", no_wrap=column == "hash")
    failures: list[str] = []
    for name in names:
        try:
            recipe = Recipe.load(name, overrides)
            model = build(recipe)
            step_once(model, recipe)
        except UserError as error:
            failures.append(str(error))
            continue
        memory = getattr(model, "memory", None)
        table.add_row(
            recipe.name,
            recipe.hash,
            f"{sum(p.numel() for p in model.parameters()):,}",
            type(memory).__name__ if memory is not None else "–",
            describe_data(recipe),
        )
    console = Console()
    if table.row_count:
        console.print(table)
    for failure in failures:
        Console(stderr=True, highlight=False).print(Text.assemble(("error: ", "bold red"), failure), soft_wrap=True)
    if failures:
        raise typer.Exit(2)
