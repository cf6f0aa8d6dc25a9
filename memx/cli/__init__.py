"""The command line: one file a command. Nothing here imports torch before a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from memx._version import __version__
from memx.cli import (
    bench,
    check,
    data,
    demo,
    env,
    evaluate,
    export,
    import_,
    inspect,
    list_,
    predict,
    profile,
    reproduce,
    schema,
    search,
    show,
    train,
    zoo,
)
from memx.cli.interrupt import Interruptible
from memx.errors import InterruptedRunError, UserError

app = typer.Typer(
    cls=Interruptible,
    help="Explore how a video model should remember: memories, recipes, honest numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"memx {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Explore how a video model should remember: memories, recipes, honest numbers."""


app.command("train", rich_help_panel="Experiments")(train.train)
app.command("eval", rich_help_panel="Experiments")(evaluate.evaluate)
app.command("predict", rich_help_panel="Experiments")(predict.predict)
app.command("inspect", rich_help_panel="Experiments")(inspect.inspect)
app.add_typer(import_.app, name="import", rich_help_panel="Experiments")
app.command("search", rich_help_panel="Experiments")(search.search)
app.command("profile", rich_help_panel="Experiments")(profile.profile)
app.command("export", rich_help_panel="Experiments")(export.export)
app.command("demo", rich_help_panel="Experiments")(demo.demo)
app.command("reproduce", rich_help_panel="Experiments")(reproduce.reproduce)
app.command("list", rich_help_panel="Components and recipes")(list_.list_)
app.command("show", rich_help_panel="Components and recipes")(show.show)
app.command("check", rich_help_panel="Components and recipes")(check.check)
app.command("schema", rich_help_panel="Components and recipes")(schema.schema)
app.add_typer(zoo.app, name="zoo", rich_help_panel="Components and recipes")
app.add_typer(data.app, name="data", rich_help_panel="Data and machine")
app.add_typer(bench.app, name="bench", rich_help_panel="Data and machine")
app.command("env", rich_help_panel="Data and machine")(env.env)


def main() -> None:
    """Entry point of the `memx` command. The user's mistakes give one message and exit status 2."""
    debug = "--debug" in sys.argv
    if debug:  # wherever it stands
        sys.argv = [sys.argv[0], "--debug", *(a for a in sys.argv[1:] if a != "--debug")]
    try:
        app()
    except (UserError, OSError) as error:
        if debug:
            raise
        from rich.console import Console
        from rich.text import Text

        head = ("", "") if isinstance(error, InterruptedRunError) else ("error: ", "bold red")
        Console(stderr=True, highlight=False).print(Text.assemble(head, _message(error)), soft_wrap=True)
        sys.exit(error.status if isinstance(error, UserError) else 2)


def _message(error: UserError | OSError) -> str:
    """An OSError that nobody explained better: the file and the system's reason."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    return str(error)
