"""`memx list [kind]`: components and recipes with a line each."""

from __future__ import annotations

from typing import Annotated

import typer

from memx.cli.common import Plugins


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="A kind of component, or `recipe`; none: everything.", show_default=False)
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List components and recipes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from memx.cli.common import load_plugins
    from memx.errors import RecipeError, unknown
    from memx.recipe_source import read_yaml, shipped_recipes
    from memx.registry import registries

    load_plugins(plugin)
    kinds = registries()
    known = [*kinds, "recipe"]
    plurals = {f"{k.removesuffix('y')}ies" if k.endswith("y") else f"{k}s": k for k in known} | {"losses": "loss"}
    if kind is not None and plurals.get(kind, kind) not in known:
        raise RecipeError(unknown("kind", kind, known))
    wanted = [plurals.get(kind, kind)] if kind else known
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
