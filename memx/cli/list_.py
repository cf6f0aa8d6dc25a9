"""`memx list [kind]`: components and recipes with a line each."""

from __future__ import annotations

from typing import Annotated

import typer


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="A kind of component, or `recipe`; none: everything.", show_default=False)
    ] = None,
) -> None:
    """List components and recipes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from memx.errors import RecipeError, unknown
    from memx.recipe_source import read_yaml, shipped_recipes
    from memx.registry import registries

    kinds = registries()
    if kind is not None and kind.rstrip("s") not in (*kinds, "recipe") and kind not in kinds:
        raise RecipeError(unknown("kind", kind, [*kinds, "recipe"]))
    wanted = [kind if kind in kinds else kind.rstrip("s")] if kind else [*kinds, "recipe"]
    console = Console()
    for name in wanted:
        table = Table(
            title=f"{name}", title_justify="left", box=None, pad_edge=False, title_style="bold", show_header=False
        )
        table.add_column(style="cyan", no_wrap=True, min_width=20)
        table.add_column()
        if name == "recipe":
            for recipe, path in shipped_recipes().items():
                table.add_row(recipe, Text(str(read_yaml(path).data.get("description", ""))))
        else:
            for entry in kinds[name]:
                table.add_row(entry.name, Text(entry.summary))
        console.print(table)
        console.print()
