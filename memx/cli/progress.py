"""A progress bar in one style."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def bar(
    title: str, total: int | None, unit: str = "", *, console: Console | None = None
) -> Iterator[Callable[..., None]]:
    """Gives `advance(note="", steps=1)`; shows what is done, how fast, and the time left."""
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console or Console(stderr=True),
    )
    with progress:
        task = progress.add_task(title, total=total, note="", speed="")

        def advance(note: str = "", steps: int = 1) -> None:
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            shown = "" if not speed else f"{speed:.2f}/s" if speed >= 1 else f"{1 / speed:.2f} s each"
            progress.update(task, advance=steps, note=note, speed=shown)

        yield advance
