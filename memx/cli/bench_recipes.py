"""`memx bench recipes [RECIPE|RUN|FILE …]`, and the group that takes the same words without `recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from memx.cli.common import Device, split_overrides
from memx.cli.profile import Precision

COMMAND = "recipes"


class RecipesByDefault(TyperGroup):
    """A group whose command `recipes` may go unsaid: a first word that names a recipe, file, run or override is its."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name, the command and its words. (`Any`: some releases of typer bring click with them, others do not.)"""
        word = args[0]
        if word.startswith("-") or word in self.commands:
            return super().resolve_command(ctx, args)
        if not _is_recipe(word):
            raise _neither(word, sorted(self.commands))
        return COMMAND, self.commands[COMMAND], args


def recipes(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE|RUN|FILE …] [overrides]",
            help="Recipes by name or file, and run folders; then path.to.key=value …, for all of them. "
            "None: the recipes that travel with memx.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What times are divided by, as the table calls it; none: the first.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed frames of each network.")] = 50,
    budget: Annotated[
        float,
        typer.Option(min=0.01, help="Seconds of a network's timed frames, and of its stream to frame 100."),
    ] = 20.0,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, help="Height and width of all networks' frames; none: each recipe's data.size.", show_default=False
        ),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Autocast; none: each recipe's train.precision.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every sample, instead of tables.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for bench.json, bench.csv, bench.png and report.html.", show_default=False),
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure many networks in turns, one streamed frame of each a round: MACs, FPS, memory, and a run's own Dice.

    Nothing is trained and no weights are used. A recipe that cannot be built or run ends the command before anything is
    timed.
    """
    from rich.console import Console

    from memx.cli.common import pick_device
    from memx.cli.progress import bar
    from memx.errors import UserError
    from memx.profile import side_by_side, side_by_side_report
    from memx.profile.entries import find_entries

    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; it is a folder")
    names, overrides = split_overrides(words or [])
    entries = find_entries(names, overrides)
    settings = side_by_side.Settings(
        rounds=rounds,
        budget=budget,
        device=pick_device(device),
        precision=precision and precision.value,
        size=None if size is None else (size, size),
    )
    with bar("bench", 2 * len(entries), "steps") as advance:
        found = side_by_side.measure(entries, settings, baseline=baseline, progress=advance)
    report = None if out is None else side_by_side_report.write(found, out)
    if as_json:
        typer.echo(side_by_side_report.as_json(side_by_side_report.record(found)), nl=False)
    else:
        Console(highlight=False).print(side_by_side_report.render(found))
    if report is not None:
        typer.echo(f"report {report}", err=as_json)


def _is_recipe(word: str) -> bool:
    from memx.errors import RecipeError
    from memx.recipe_source import find_recipe

    if split_overrides([word])[1] or Path(word).is_dir():
        return True
    try:
        find_recipe(word)
    except RecipeError:
        return False
    return True


def _neither(word: str, commands: list[str]) -> Exception:
    from memx.errors import UserError, nearest
    from memx.recipe_source import shipped_recipes

    known = shipped_recipes()
    guess = nearest(word, [*commands, *known])
    hint = f"; did you mean {guess!r}?" if guess else "."
    return UserError(
        f"memx bench {word}: neither a subcommand nor a recipe, file or run{hint} "
        f"Subcommands: {', '.join(commands)}. Recipes: {', '.join(sorted(known))}"
    )
