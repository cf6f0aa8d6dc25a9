"""`memx env`: machine, libraries and backends."""

from __future__ import annotations

from typing import Annotated

import typer


def env(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the machine, the libraries and which backends can run here (and why others cannot)."""
    import json

    from rich.console import Console
    from rich.table import Table

    from memx.engine.manifest import environment

    facts = environment()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for key, value in facts.items():
        if isinstance(value, dict):
            for name, item in value.items():
                table.add_row(f"{key}.{name}", str(item))
        else:
            table.add_row(key, str(value))
    Console().print(table)
