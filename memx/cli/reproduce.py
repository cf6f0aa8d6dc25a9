"""`memx reproduce SYSTEM --table NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memx.cli.common import Device, Overrides


def reproduce(
    system: Annotated[str, typer.Argument(help="A system of the zoo; `memx zoo` lists them.")],
    overrides: Overrides = None,
    table: Annotated[
        str | None, typer.Option(help="Which table; `memx zoo show SYSTEM` lists them.", show_default=False)
    ] = None,
    data: Annotated[
        str,
        typer.Option(help="phantom, camus or echonet, where the table has it; the latter two need data.root=FOLDER."),
    ] = "phantom",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row, with seeds 0, 1, …")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time; the cores are dealt out to them.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="The whole path in minutes; figures without meaning.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only show which runs are there and which are to do.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of data, runs and tables.")] = Path("runs/reproduce"),
    device: Device = "auto",
) -> None:
    """Make a table of a system's paper: train or reuse the runs, and set ours, with intervals, beside the published."""
    from rich.console import Console

    from memx.cli.common import pick_device
    from memx.cli.reproduction import run_reproduction, show_plan
    from memx.errors import UserError
    from memx.reproduce.plan import make_plan
    from memx.zoo import find_system

    found = find_system(system)
    if table is None:
        raise UserError(f"--table is missing; {found.title} has: {', '.join(found.tables)}")
    offered = found.table(table).data
    if data not in offered:
        raise UserError(f"--data {data}: table {table} is made on {' or '.join(offered)}")
    made = make_plan(found, table, data, out=out, seeds=seeds, quick=quick, overrides=overrides or [])
    console = Console(highlight=False)
    if plan:
        show_plan(made, jobs, console)
        return
    _, failed = run_reproduction(made, jobs=jobs, device=pick_device(device), console=console)
    if failed:
        raise typer.Exit(1)
