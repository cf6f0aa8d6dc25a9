"""A progress bar in one style; lines instead of a bar where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def bar(
    title: str, total: int | None, unit: str = "", *, console: Console | None = None
) -> Iterator[Callable[..., None]]:
    """Gives `advance(note="", steps=1, before=False)`; shows what is done, how fast, and the time left.

    Steps that were done `before`, in another run of the command, count as done and say nothing of the speed.
    """
    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(title, total, unit, console)
        return
    progress = Progress(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )
    with progress:
        task = progress.add_task(title, total=total, note="", speed="")

        def advance(note: str = "", steps: int = 1, before: bool = False) -> None:
            if before:
                progress.reset(task, completed=steps, note=note, speed="")
                return
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, advance=steps, note=note, speed=_speed(speed) if speed else "")

        yield advance


def _lines(title: str, total: int | None, unit: str, console: Console) -> Callable[..., None]:
    """A line for every tenth of the work: what a log file wants."""
    started, done, done_before, shown = time.perf_counter(), 0, 0, 0

    def advance(note: str = "", steps: int = 1, before: bool = False) -> None:
        nonlocal done, done_before, shown, started
        done += steps
        if before:
            done_before, started, shown = done, time.perf_counter(), done * 10 // total if total else 0
            return
        tenth = done * 10 // total if total else 0
        if tenth > shown:
            shown = tenth
            elapsed = time.perf_counter() - started
            rate = (done - done_before) / elapsed
            left = (total - done) / rate if total else 0
            parts = [
                f"{title} {done}/{total} {unit}".rstrip(),
                _speed(rate),
                f"{elapsed:.0f} s, {left:.0f} s left",
                note,
            ]
            console.print("  ".join(part for part in parts if part), soft_wrap=True, markup=False)

    return advance


def _speed(rate: float) -> str:
    return f"{rate:.2f}/s" if rate >= 1 else f"{1 / rate:.2f} s each"
