"""Make a table with its plan, progress and words on the terminal: what `memx reproduce` does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memx.cli.progress import bar
from memx.data.fingerprint import fingerprint
from memx.engine.datasets import find_cases
from memx.engine.manifest import device_words
from memx.reproduce.collect import accuracy_result, speed_result
from memx.reproduce.data import DataSource
from memx.reproduce.plan import Plan, seconds_left, unique
from memx.reproduce.result import QUICK, Result
from memx.reproduce.runs import PlacedRun
from memx.reproduce.speed import time_frames
from memx.reproduce.workers import Outcome, Task, alone, run_tasks
from memx.reproduce.write import terminal_table, words, write_result

ROUNDS, QUICK_ROUNDS = 40, 5


def show_plan(plan: Plan, jobs: int, console: Console) -> None:
    """Which runs the table needs, how far each is, and the time that the rest may take."""
    _heading(plan, console)
    if plan.table.kind == "speed":
        console.print(f"{len(plan.rows)} networks are timed in turns; nothing is trained.")
        return
    for source in plan.missing:
        console.print(f"{source.root}: the phantom is written first: {_options(source)}", soft_wrap=True)
    _show_runs(plan, plan.place("unwritten" if plan.source.missing else _fingerprint(plan)), jobs, console)


def run_reproduction(plan: Plan, *, jobs: int, device: str, console: Console) -> tuple[Result, int]:
    """Do what is left to do and print the table; returns it and how many runs failed."""
    if plan.table.kind == "speed":
        return _time(plan, device, console), 0
    _heading(plan, console)
    if not plan.source.missing:
        _fingerprint(plan)  # data that cannot be used are refused before anything is written
    with alone(plan.folder) as lock:
        for source in plan.missing:
            console.print(f"writing the phantom: {_options(source)}", soft_wrap=True)
            with bar("phantom", (source.options or {})["patients"], "patients") as advance:
                source.write(lambda done, total: advance())
        digest = _fingerprint(plan)
        placed = plan.place(digest)
        _show_runs(plan, placed, jobs, console)
        failed = _train(plan, placed, jobs, device, console, lock)
    for outcome in failed:
        console.print(Text.assemble(("failed: ", "bold red"), f"{outcome.task.name} (exit status {outcome.status}), "
                                    f"{outcome.task.log} ends:"), soft_wrap=True)  # fmt: skip
        for line in outcome.last_lines():
            console.print(f"    {line}", soft_wrap=True, markup=False)
    result = accuracy_result(plan, placed, digest)
    _finish(plan, result, console)
    return result, len(failed)


def _train(
    plan: Plan, placed: Mapping[str, Sequence[PlacedRun]], jobs: int, device: str, console: Console, lock: int
) -> list[Outcome]:
    """Run what is left; returns the runs that failed."""
    tasks: list[Task] = []
    for item in unique(placed):
        if item.stage != "scored":
            item.clear()
            tasks.append(Task(item.path.name, item.commands(device), plan.folder / "logs" / f"{item.path.name}.log"))
    if not tasks:
        return []
    failed: list[Outcome] = []
    labels = _labels(placed)
    with bar("runs", len(tasks), "runs", console=console) as advance:

        def started(task: Task) -> None:
            console.print(f"start {task.name}  {labels[task.name]}  log {task.log}", soft_wrap=True, markup=False)

        def finished(outcome: Outcome) -> None:
            if outcome.status:
                failed.append(outcome)
            how = f"failed with exit status {outcome.status}" if outcome.status else "done"
            console.print(f"{how} {outcome.task.name} in {_duration(outcome.seconds)}", soft_wrap=True, markup=False)
            advance()

        run_tasks(tasks, jobs, hold=lock, started=started, finished=finished)
    return failed


def _time(plan: Plan, device: str, console: Console) -> Result:
    _heading(plan, console)
    recipes = {label: runs[0].recipe for label, runs in plan.rows.items()}
    times = time_frames(recipes, device=device, rounds=QUICK_ROUNDS if plan.quick else ROUNDS)
    result = speed_result(plan, times, device_words(device))
    _finish(plan, result, console)
    return result


def _finish(plan: Plan, result: Result, console: Console) -> None:
    report = write_result(result, plan.out)
    console.print()
    console.print(terminal_table(result))
    console.print(words(result), markup=False)
    console.print()
    console.print(f"report {report}", soft_wrap=True, markup=False)


def _heading(plan: Plan, console: Console) -> None:
    console.print(Text(f"{plan.system.title}, table {plan.name}, on {plan.data}", style="bold"))
    if plan.quick:
        console.print(Text(QUICK, style="bold yellow"))


def _show_runs(plan: Plan, placed: Mapping[str, Sequence[PlacedRun]], jobs: int, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for head in ("row", "recipe", "changes", "seeds"):
        table.add_column(head, overflow="fold")
    for row in plan.table.rows:
        if row.overrides is None:
            continue
        runs = placed[row.label]
        stages = ", ".join(f"{item.run.seed} {item.stage}" for item in runs)
        table.add_row(Text(row.label), runs[0].run.recipe.hash, Text(shlex.join(row.overrides) or "–"), stages)
    console.print(table)
    runs = unique(placed)
    left = [item for item in runs if item.stage != "scored"]
    line = f"{len(runs) - len(left)} of {len(runs)} runs are there, {len(left)} to do"
    if left:
        seconds = seconds_left(left, plan.folder, jobs)
        known = "the time is known after the first" if seconds is None else f"about {_duration(seconds)} of training"
        line += f", {jobs} at a time: {known}"
    console.print(line)


def _labels(placed: Mapping[str, Sequence[PlacedRun]]) -> dict[str, str]:
    """What the rows that stand on a run are called, by its folder's name."""
    found: dict[str, list[str]] = {}
    for label, runs in placed.items():
        for item in runs:
            found.setdefault(item.path.name, []).append(label)
    return {name: " = ".join(labels) for name, labels in found.items()}


def _fingerprint(plan: Plan) -> str:
    layout, cases = find_cases(plan.recipe, None)
    return fingerprint(layout, cases)


def _options(source: DataSource) -> str:
    return ", ".join(f"{name} {value}" for name, value in (source.options or {}).items())


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
