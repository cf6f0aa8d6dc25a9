"""`memx schema`: the JSON schema of a recipe, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def schema(
    out: Annotated[Path | None, typer.Option(help="File to write; none: print.", show_default=False)] = None,
) -> None:
    """Print the JSON schema of a recipe, with every registered component and option.

    Editors with a YAML language server use it: `# yaml-language-server: $schema=memx.schema.json`.
    """
    from memx.files import write_text
    from memx.recipe import Recipe

    text = json.dumps(Recipe.json_schema(), indent=2)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text + "\n")
        typer.echo(f"wrote {out}")
