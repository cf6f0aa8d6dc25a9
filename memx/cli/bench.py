"""`memx bench …`: measure, and say how."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from memx.cli.bench_recipes import COMMAND, RecipesByDefault, recipes
from memx.cli.common import Device, Overrides

app = typer.Typer(cls=RecipesByDefault, help="Measure speed and memory.", no_args_is_help=True)
app.command(COMMAND)(recipes)


class What(StrEnum):
    """A quantity of `memx bench ops`."""

    FWD = "fwd"
    BWD = "bwd"
    STEP = "step"
    MEMORY = "memory"


class DType(StrEnum):
    """A dtype of q, k, v and β."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@app.callback()
def bench() -> None:
    """Measure speed and memory. Words that are no command name recipes and runs, as for `memx bench recipes`."""


@app.command()
def ops(
    quick: Annotated[bool, typer.Option("--quick", help="Short shapes and 5 rounds only, where not said.")] = False,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Rounds; none: 30, or 5 with --quick.", show_default=False)
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="A shape by name; may be given again. None: all.", show_default=False)
    ] = None,
    only: Annotated[
        list[What] | None, typer.Option(help="A quantity; may be given again. None: all.", show_default=False)
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help="An implementation beside memx's; may be given again. None: all installed.", show_default=False
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0.001, help="Seconds for one implementation, quantity and shape.")
    ] = 10.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="torch's threads on the CPU; none: as they are.", show_default=False)
    ] = None,
    device: Device = "cpu",
    dtype: Annotated[DType, typer.Option(help="Of q, k, v and β; decays and states are at least float32.")] = (
        DType.FLOAT32
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A new file for the JSON, with every sample.", show_default=False)
    ] = None,
) -> None:
    """Time the gated delta rule in memx and in other packages, in turns, after checking that they agree.

    An implementation that does not agree is not timed; the exit status is then 1, as it is where one that was named
    has no figure, or none has.
    """
    import json

    import torch
    from rich.console import Console

    from memx.cli.common import pick_device
    from memx.cli.progress import bar
    from memx.errors import UserError
    from memx.files import write_text
    from memx.profile import ops_bench, ops_report
    from memx.profile.ops_choice import choose_peers, choose_shapes

    if out is not None and out.exists():
        raise UserError(f"--out {out}: is there already; remove it or choose another name")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it, or choose another")
    chosen = pick_device(device)
    named = {what.value for what in only or What}
    settings = ops_bench.Settings(
        shapes=choose_shapes(shape, quick=quick),
        quantities=tuple(q for q in ops_bench.TITLES if q in named),
        rounds=repeats or (5 if quick else 30),
        step_calls=20 if quick else 100,
        budget=budget,
        device=chosen,
        dtype=getattr(torch, dtype.value),
    )
    implementations, absent = choose_peers(peer)
    with ops_bench.threads(threads), bar("bench", ops_bench.stages(settings), "stages") as advance:
        measured = ops_bench.run(implementations, settings, progress=advance)
        record = ops_report.record(measured, absent, implementations)
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if as_json:
        typer.echo(text, nl=False)
    else:
        Console(highlight=False).print(ops_report.render(measured, absent))
    if out is not None:
        write_text(out, text)
        typer.echo(f"wrote {out}", err=as_json)
    figures = {cell.peer for cell in measured.cells if cell.values}
    if without := [name for name in peer or () if name not in figures]:
        typer.echo(f"error: no figure of {', '.join(without)}: the report says why", err=True)
    elif not figures:
        typer.echo("error: nothing was measured: the report says why", err=True)
    if measured.disagreements or without or not figures:
        raise typer.Exit(1)


@app.command()
def data(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one that travels with memx.")],
    overrides: Overrides = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Loading processes; may be given again. None: 0, 1 and 2.", show_default=False),
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Batches that are timed.")] = 20,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Clips a second that a recipe's data give to a training step that does nothing, with and without augmentation."""
    import json

    from rich.console import Console

    from memx.cli.common import pick_device
    from memx.profile import loading, loading_report
    from memx.recipe import Recipe

    chosen, place = Recipe.load(recipe, overrides or []), pick_device(device)
    measured = loading.measure(chosen, workers=workers or (0, 1, 2), batches=batches, device=place)
    record = measured.record(chosen, place)
    if as_json:
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        Console(highlight=False).print(loading_report.render(measured, record))
