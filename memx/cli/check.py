"""`memx check <recipes and files…>`: is a recipe right, and does a memory of your own keep the laws?"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from memx.cli.check_memory import MemoryReport, Sizes


def check(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|FILE.py…",
            help="Recipes (files or names) and their overrides; Python files that register memories.",
        ),
    ],
    examples: Annotated[
        int | None, typer.Option(min=1, help="FILE.py: cases to draw for each law (25).", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="FILE.py: which cases are drawn (0).", show_default=False)
    ] = None,
    key_dim: Annotated[
        int | None, typer.Option(min=1, help="FILE.py: key channels that cost is given at (64).", show_default=False)
    ] = None,
    value_dim: Annotated[
        int | None, typer.Option(min=1, help="FILE.py: value channels (256).", show_default=False)
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="FILE.py: tokens of a frame (256).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Validate recipes, build their models and run them on a frame; hold the memories of Python files to every law.

    Of a file, options and cases are drawn, and a break is shrunk to the smallest case.

    Exit status: 1 when a law is broken, 2 for a mistake in a recipe or file.
    """
    from rich.console import Console
    from rich.text import Text

    from memx.cli.check_memory import Sizes
    from memx.cli.check_recipe import RecipeReport, check_recipe, show_recipes
    from memx.cli.common import split_overrides
    from memx.errors import UserError

    names, overrides = split_overrides(words)
    files, recipes = [Path(n) for n in names if _is_python(n)], [n for n in names if not _is_python(n)]
    given = {"examples": examples, "seed": seed, "key-dim": key_dim, "value-dim": value_dim, "tokens": tokens}
    if not names:
        raise UserError(
            "name at least one recipe or Python file, e.g. `memx check gdkvm_phantom` or `memx check my_memory.py`; "
            "`memx list recipe` shows the recipes"
        )
    if not recipes and overrides:
        raise UserError(f"overrides change recipes, and there is none: leave {' '.join(overrides)} away, or name one")
    if not files and (pointless := [f"--{name}" for name, value in given.items() if value is not None]):
        raise UserError(f"{', '.join(pointless)} is for Python files that register memories, and there is none")

    console = Console(highlight=False, quiet=as_json)
    mistakes: list[str] = []
    built: list[RecipeReport] = []
    sizes = Sizes(key_dim or Sizes.key_dim, value_dim or Sizes.value_dim, tokens or Sizes.tokens)
    held: list[MemoryReport] = []
    # what a file prints is its author's, and no part of a report that is read by a program
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        for name in recipes:
            try:
                built.append(check_recipe(name, overrides))
            except UserError as error:
                mistakes.append(_meant(name) or str(error))
        if built:
            show_recipes(built, console)
        for file in files:
            try:
                held += _check_file(file, examples, seed or 0, sizes, console, first=not (built or held))
            except UserError as error:
                mistakes.append(str(error))
    if as_json:
        report = {"recipes": [r.json() for r in built], "memories": [m.json() for m in held], "mistakes": mistakes}
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    for mistake in mistakes:
        Console(stderr=True, highlight=False).print(Text.assemble(("error: ", "bold red"), mistake), soft_wrap=True)
    if mistakes or not all(report.kept for report in held):
        raise typer.Exit(2 if mistakes else 1)


def _is_python(word: str) -> bool:
    return Path(word).suffix == ".py"


def _meant(name: str) -> str:
    """What to say of a recipe that is not there, but something else of its name is; nothing otherwise."""
    from memx.errors import RecipeError
    from memx.recipe_source import find_recipe

    try:
        find_recipe(name)
        return ""
    except RecipeError:
        pass
    if Path(name).is_dir():
        return f"{name} is a folder: name a recipe, or the Python file that registers a memory"
    if (file := Path(f"{name}.py")).is_file() and not Path(name).suffix:
        return f"{name} is no recipe; for the memories of the Python file say `memx check {file}`"
    return ""


def _check_file(
    file: Path, examples: int | None, seed: int, sizes: Sizes, console: Console, *, first: bool
) -> list[MemoryReport]:
    """Hold every memory of a file to every law, and print as it goes."""
    from memx.cli.check_memory import MemoryReport, facts_of
    from memx.cli.memory_report import Report
    from memx.memory.author import hold_to_contract
    from memx.memory.from_file import memories_in
    from memx.memory.laws import LAWS
    from memx.memory.verify import EXAMPLES, Verdict, verify

    shown, reports = Report(console), []
    for entry in memories_in(file):
        hold_to_contract(entry)
        if reports or not first:
            console.print()
        shown.head(entry, file)
        verdicts: list[Verdict] = []
        with shown.progress() as tell:
            for law in LAWS:
                verdicts.append(
                    verify(
                        entry,
                        law,
                        examples=examples or EXAMPLES,
                        seed=seed,
                        heard=lambda cases, law=law: tell(law, cases),
                    )
                )
                shown.row(verdicts[-1])
        report = MemoryReport(entry, file, verdicts, facts_of(entry, file, sizes), sizes, seed)
        shown.breaks(report)
        shown.facts(report)
        shown.total(report)
        reports.append(report)
    return reports
