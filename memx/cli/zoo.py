"""`memx zoo` and `memx zoo show SYSTEM`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from memx.zoo import System

app = typer.Typer(help="Whole systems: cards, recipes, published figures, tables.")


@app.callback(invoke_without_command=True)
def zoo(context: typer.Context) -> None:
    """List whole systems with their recipes and licences; `memx zoo show SYSTEM` says more of one."""
    if context.invoked_subcommand is None:
        _list()


@app.command()
def show(system: Annotated[str, typer.Argument(help="A system's name, as `memx zoo` lists it.")]) -> None:
    """Show a system: paper, releases, licences, published figures, and the tables that `memx reproduce` makes."""
    from rich.console import Console

    from memx.zoo import find_system
    from memx.zoo.metrics import COLUMNS, published_words

    console = Console(highlight=False)
    found = find_system(system)
    _heading(found, console)
    releases = [(item.name, item.recipe, item.differs) for item in found.releases]
    console.print(_table("releases", ("form", "recipe", "what differs"), releases), "")
    published = [
        (
            found.sources[item.source].label,
            item.data,
            ", ".join(f"{COLUMNS[m].title} {published_words(m, figure)}" for m, figure in item.figures.items()),
            item.remark,
        )
        for item in found.published
    ]
    console.print(_table("published figures", ("source", "data", "figures", "remark"), published), "")
    tables = [(name, ", ".join(item.data), f"{item.title}. {item.shows}") for name, item in found.tables.items()]
    title = f"tables: memx reproduce {found.name} --table NAME --data DATA"
    console.print(_table(title, ("name", "data", "what it shows"), tables), "")
    console.print(f"card  {found.card}", soft_wrap=True, markup=False)


def _list() -> None:
    from rich.console import Console

    from memx.zoo import systems

    rows = [
        (
            name,
            system.summary,
            f"{system.parameters:,}",
            ", ".join(dict.fromkeys(release.recipe for release in system.releases)),
            system.licences,
        )
        for name, system in systems().items()
    ]
    Console(highlight=False).print(_table("systems", ("name", "what it is", "parameters", "recipes", "licences"), rows))


def _heading(system: System, console: Console) -> None:
    from rich.text import Text

    paper = system.paper
    arxiv = f", arXiv {paper.arxiv}" if paper.arxiv else ""
    note = f" ({system.parameters_note})" if system.parameters_note else ""
    lines = [
        ("paper", f"{paper.title}. {paper.authors}. {paper.venue}{arxiv}"),
        ("parameters", f"{system.parameters:,}{note}"),
        *(("code", f"{item.repository}: {item.holds}; licence: {item.licence}") for item in system.code),
        *(("weights", f"{item.file}, {item.source}; licence: {item.licence}") for item in system.weights),
    ]
    console.print(Text.assemble((system.title, "bold cyan"), "  ", system.summary))
    for label, words in lines:
        console.print(Text.assemble((f"{label}  ", "bold"), words))
    console.print()


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        table.add_column(head, style="cyan" if place == 0 else None, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
