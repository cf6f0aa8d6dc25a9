"""How `memx data check` and `memx data info` look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from memx.data.check.problem import Problem
    from memx.data.check.run import Report
    from memx.data.check.summary import ClassCount, Spread, Summary

_MARKS = {"error": ("✗", "bold red"), "warning": ("!", "yellow")}
_WIDE, _FILE = 110, 0.42  # columns from which a problem stands in three cells, and the share of the file's name
_NAMED = 3  # files of one and the same problem that are named
_BARS = " ▁▂▃▄▅▆▇█"


def show_summary(console: Console, root: Path, layout: str, summary: Summary) -> None:
    """The data set in numbers."""
    console.print(Text.assemble((str(root), "bold"), ("  layout ", "dim"), (layout, "cyan")), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _rows(summary):
        table.add_row(f"  {name}", value)
    console.print(table)
    console.print()


def show_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Every problem in one table. Files with the very same problem share a row."""
    if not problems:
        return
    wide = console.width >= max(_WIDE, max(len(p.where) for p in problems) / _FILE)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=wide, expand=False, padding=(0, 1))
    table.add_column("", no_wrap=True, width=1)
    if wide:
        table.add_column("file", no_wrap=True, overflow="fold")
        table.add_column("what", overflow="fold")
        table.add_column("what to do", overflow="fold")
    else:
        table.add_column("problem", overflow="fold")
    for alike in _alike(problems):
        first = alike[0]
        mark, style = _MARKS[first.severity]
        where = _where(alike)
        if wide:
            table.add_row(Text(mark, style), where, Text(first.what), Text(first.remedy, "green"))
        else:
            remedy = Text.assemble(("→ ", "dim"), (first.remedy, "green"))
            table.add_row(Text(mark, style), Group(where, Text(first.what), remedy, Text()))
    console.print(table)


def show_verdict(console: Console, report: Report, folder: Path) -> None:
    """The last lines: how much is wrong, and where the results are."""
    parts = [
        f"{count} {word}{'s' * (count != 1)}"
        for count, word in ((report.errors, "error"), (report.warnings, "warning"))
        if count
    ]
    mark, style = ("✗", "bold red") if report.errors else ("✓", "bold green")
    console.print(Text(f"{mark} {', '.join(parts) or 'no problem'}", style))
    for file in ("sheet.png", "problems.csv", "report.json"):
        if (folder / file).exists():
            console.print(Text.assemble(("  wrote ", "dim"), str(folder / file)), soft_wrap=True)


def _alike(problems: Sequence[Problem]) -> Iterator[list[Problem]]:
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.severity, problem.what, problem.remedy), []).append(problem)
    yield from groups.values()


def _where(alike: Sequence[Problem]) -> Text:
    text = Text("\n".join(problem.where for problem in alike[:_NAMED]), "bold")
    if len(alike) > _NAMED:
        text.append(f"\nand {len(alike) - _NAMED} more", "dim")
    return text


def _rows(summary: Summary) -> Iterator[tuple[str, Text]]:
    views = "".join(f"  {view} {count}" for view, count in summary.views.items())
    yield "patients", Text(f"{summary.patients:,}")
    yield "clips", Text.assemble(_clips(summary), (views, "dim"))
    if summary.frames:
        labelled, every = summary.labelled
        yield "frames", _spread(summary.frames, f"a clip, {every:,} in all, {labelled:,} labelled")
    if summary.heights and summary.widths:
        kinds = f"{summary.sizes} sizes" if summary.sizes > 1 else "all of one size"
        yield "size", _product(summary.heights, summary.widths, f"pixels (y × x), {kinds}")
    if summary.spacing_y and summary.spacing_x:
        without = f", {summary.without_spacing} clips without" if summary.without_spacing else ""
        yield "spacing", _product(summary.spacing_y, summary.spacing_x, f"mm (y × x){without}")
    else:
        yield "spacing", Text("unknown: distances will be in pixels")
    if summary.fps:
        yield "frame rate", _spread(summary.fps, "per second")
    if summary.ef:
        yield "EF", _spread(summary.ef, f"% in {len(summary.ef_values):,} patients")
        yield "", _histogram(summary.ef_values)
    for position, count in enumerate(summary.classes or ()):
        yield ("labels" if not position else ""), _class(count, summary.labelled[0])
    for position, (name, (patients, clips)) in enumerate(summary.splits.items()):
        line = f"{name:6}{patients:7,} patient{'s' * (patients != 1)}, {clips:,} clip{'s' * (clips != 1)}"
        yield ("splits" if not position else ""), Text(line)
    if summary.leaks is not None:
        apart = "no patient and no frame is in two splits"
        found = (f"{summary.leaks}", "bold red"), (" in two splits: see below", "dim")
        yield "leaks", Text.assemble(*found) if summary.leaks else Text.assemble("none", (f"  {apart}", "dim"))


def _clips(summary: Summary) -> Text:
    if not summary.unread:
        return Text(f"{summary.clips:,}")
    return Text.assemble(f"{summary.clips:,}", (f" of {summary.clips + summary.unread:,} readable", "bold red"))


def _class(count: ClassCount, frames: int) -> Text:
    name = f"{count.value} {count.name}".strip()
    there = f"in {count.frames:,} of {frames:,} labelled frames"
    return Text.assemble(f"{name:14} {100 * count.share:6.2f}%", (f"  of pixels, {there}", "dim"))


def _spread(spread: Spread, unit: str) -> Text:
    if spread.min == spread.max:
        return Text.assemble(_number(spread.min), (f" {unit}", "dim"))
    return Text.assemble(
        f"{_number(spread.median)}", (f" ({_number(spread.min)} to {_number(spread.max)}) {unit}", "dim")
    )


def _product(first: Spread, second: Spread, unit: str) -> Text:
    middle = f"{_number(first.median)} × {_number(second.median)}"
    if (first.min, second.min) == (first.max, second.max):
        return Text.assemble(middle, (f" {unit}", "dim"))
    low, high = (f"{_number(getattr(first, end))} × {_number(getattr(second, end))}" for end in ("min", "max"))
    return Text.assemble(middle, (f" ({low} to {high}) {unit}", "dim"))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def _histogram(values: Sequence[float]) -> Text:
    """A bar for every ten percent, from 0 to 100."""
    counts = [0] * 10
    for value in values:
        counts[min(9, max(0, int(value // 10)))] += 1
    most = max(counts)
    bars = "".join(_BARS[-(-8 * count // most)] * 2 for count in counts)
    return Text.assemble(("0 ", "dim"), (bars, "cyan"), (" 100", "dim"))
