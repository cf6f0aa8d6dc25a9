"""What `memx bench ops` shows and stores: a table a quantity, the targets, and everything as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memx.engine.manifest import environment
from memx.profile.agreement import TOLERANCE
from memx.profile.ops_bench import BASE, TITLES, Bench, Cell, Quantity
from memx.profile.ops_targets import Target, geometric_means, targets, why_no_targets
from memx.profile.peers import Peer
from memx.profile.timing import Quantiles

UNITS: dict[Quantity, tuple[str, float]] = {
    "fwd": ("ms", 1e3),
    "bwd": ("ms", 1e3),
    "step": ("µs", 1e6),
    "memory": ("MiB", 2**-20),
}
SHORT: dict[Quantity, str] = {"fwd": "forward", "bwd": "forward + backward", "step": "step", "memory": "peak memory"}


def render(bench: Bench, absent: dict[str, str]) -> RenderableType:
    """Everything for a terminal of 80 columns or more."""
    parts: list[RenderableType] = [_agreement(bench), Text()]
    for quantity in bench.settings.quantities:
        parts += [_table(bench, quantity), Text()]
    parts += [*_overall(bench), *_targets(bench), Text(), *_absent(absent)]
    return Group(*parts)


def record(bench: Bench, absent: dict[str, str], implementations: dict[str, Peer]) -> dict[str, Any]:
    """Everything as JSON: the machine, the settings, every check, every sample, ratios, means and targets."""
    s = bench.settings
    return {
        "benchmark": "ops",
        "op": "gated_delta_rule",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "settings": {
            "device": s.device,
            "dtype": str(s.dtype).removeprefix("torch."),
            "rounds": s.rounds,
            "step_calls": s.step_calls,
            "budget_s": s.budget,
            "seed": s.seed,
            "quantities": list(s.quantities),
            "shapes": [shape.sizes() for shape in s.shapes],
        },
        "implementations": {
            n: {"description": p.description, "package": p.package, "version": p.version()}
            for n, p in implementations.items()
        },
        "absent": absent,
        "checks": [
            {
                "shape": c.shape.sizes(),
                "implementation": c.peer,
                "agrees": c.agreement.holds if c.agreement else None,
                "tolerance": c.agreement.tolerance if c.agreement else None,
                "errors": {n: _finite(e) for n, e in c.agreement.errors.items()} if c.agreement else {},
                "refused": c.refused or None,
            }
            for c in bench.checks
        ],
        "cells": [
            {
                "quantity": c.quantity,
                "shape": c.shape.sizes(),
                "implementation": c.peer,
                "unit": "bytes" if c.quantity == "memory" else "s",
                "samples": list(c.values),
                "quantiles": asdict(Quantiles.of(c.values)) if c.values else None,
                "over": BASE[c.quantity],
                "ratio": _maybe(bench.ratio(c)),
                "skipped": c.skipped or None,
            }
            for c in bench.cells
        ],
        "geometric_means": [
            {"implementation": peer, "quantity": quantity, "over": BASE[quantity], "ratio": mean, "shapes": count}
            for (peer, quantity), (mean, count) in geometric_means(bench).items()
        ],
        "targets": [
            {
                "quantity": t.quantity,
                "shape": t.shape.sizes(),
                "against": t.rival,
                "wanted": t.wanted,
                "ratio": asdict(t.ratio),
                "met": t.met,
            }
            for t in targets(bench)
        ],
        "no_targets": why_no_targets(bench) or None,
    }


def _maybe(quantiles: Quantiles | None) -> dict[str, Any] | None:
    return None if quantiles is None else asdict(quantiles)


def _finite(x: float) -> float | None:
    """JSON has no infinity."""
    return x if x != float("inf") else None


def _agreement(bench: Bench) -> Text:
    s = bench.settings
    held = [c for c in bench.checks if c.agreement is not None]
    head = (
        f"gated_delta_rule, {str(s.dtype).removeprefix('torch.')} on {s.device}, {_rounds(s.rounds)} in turns, "
        f"at most {s.budget:g} s each\n"
    )
    text = Text(head, style="bold")
    good = [c.agreement for c in held if c.agreement and c.agreement.holds]
    worst = max((max(agreement.errors.values()) for agreement in good), default=0.0)
    text.append(
        f"{len(good)} of {len(held)} results agree with the float64 oracle: largest error {worst:.1g} of the largest "
        f"entry, allowed {TOLERANCE[s.dtype]:g}\n"
        "ratio: what it takes / what the form of memx marked 1 takes, paired round by round; above 1 memx is ahead",
        style="not bold",
    )
    for check in bench.checks:
        if check.refused:
            bad = check.agreement is not None
            text.append(
                f"\n{'DISAGREES' if bad else 'not run'}: {check.peer} at {check.shape.name} (t {check.shape.t}): ",
                style="bold red" if bad else "yellow",
            )
            text.append(check.refused, style="not bold")
    return text


def _table(bench: Bench, quantity: Quantity) -> RenderableType:
    """One row an implementation, under its shape; below, what has fewer rounds or no figure, and why."""
    single = quantity == "memory"
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column(f"{TITLES[quantity]}, {UNITS[quantity][0]}", no_wrap=True, min_width=32)
    for column in ("peak", "ratio") if single else ("median", "p25–p75", "ratio", "p25–p75"):
        table.add_column(column, justify="right", no_wrap=True, style="dim" if "–" in column else "")
    table.add_column("", no_wrap=True, style="bold red")
    notes: list[Text] = []
    cells = [cell for cell in bench.cells if cell.quantity == quantity]
    for shape, group in groupby(cells, key=lambda cell: cell.shape):
        length = "" if quantity == "step" else f"t{shape.t} "
        sizes = f"b{shape.b} {length}h{shape.h} k{shape.k} v{shape.v}"
        table.add_row(Text.assemble((shape.name, "bold"), " ", (sizes, "dim")))
        for cell in group:
            table.add_row(Text(f"  {cell.peer}", style="cyan"), *_figures(bench, cell))
            if 0 < len(cell.values) < bench.settings.rounds and not single:
                notes.append(Text(f"{cell.peer} at {shape.name}: {_rounds(len(cell.values))}, by the budget"))
            elif not cell.values:
                notes.append(Text(f"{cell.peer} at {shape.name}: {cell.skipped}"))
    return Group(table, *(Text.assemble("  ", note, style="yellow") for note in notes))


def _figures(bench: Bench, cell: Cell) -> list[str | Text]:
    factor, single = UNITS[cell.quantity][1], cell.quantity == "memory"
    if not cell.values:
        return [Text("–", style="dim")]
    value, ratio = Quantiles.of(cell.values), bench.ratio(cell)
    shown: list[str | Text] = [_number(value.median * factor)]
    if not single:
        shown.append(f"{_number(value.p25 * factor)}–{_number(value.p75 * factor)}")
    if ratio is None:
        return shown
    if cell.peer == BASE[cell.quantity]:
        return [*shown, Text("1", style="dim")]
    behind = ratio.median < 1
    shown.append(Text(f"{ratio.median:.2f}", style="bold red" if behind else "green"))
    if not single:
        shown.append(f"{ratio.p25:.2f}–{ratio.p75:.2f}")
    whose = BASE[cell.quantity] if cell.peer in BASE.values() else "memx"
    return [*shown, f"{whose} {'more' if single else 'slower'}" if behind else ""]


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def _number(x: float) -> str:
    """Three significant digits, and no fewer than are before the point."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def _overall(bench: Bench) -> Iterable[RenderableType]:
    means = geometric_means(bench)
    if not means:
        return
    yield Text("ratios, geometric mean over the shapes (how many)", style="bold")
    table = Table(box=None, pad_edge=False)
    table.add_column("implementation", no_wrap=True)
    for quantity in bench.settings.quantities:
        table.add_column(SHORT[quantity], justify="right", no_wrap=True)
    for peer in dict.fromkeys(cell.peer for cell in bench.cells):
        row = []
        for quantity in bench.settings.quantities:
            mean, count = means.get((peer, quantity), (0.0, 0))
            base = Text("1" if peer == BASE[quantity] else "–", style="dim")
            row.append(
                Text.assemble((f"{mean:.2f}", "bold red" if mean < 1 else "green"), (f" ({count})", "dim"))
                if count
                else base
            )
        table.add_row(Text(peer, style="cyan"), *row)
    yield table
    yield Text()


def _targets(bench: Bench) -> Iterable[RenderableType]:
    reason = why_no_targets(bench)
    if reason:
        yield Text(f"targets: not checked; {reason}", style="yellow")
        return
    found = {(t.shape.name, t.quantity): t for t in targets(bench)}
    met = sum(t.met for t in found.values())
    yield Text.assemble(
        ("targets: the better of transformers' two functions / memx; ", "bold"),
        (f"{met} of {len(found)} met", "bold green" if met == len(found) else "bold red"),
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("shape", no_wrap=True)
    for quantity in bench.settings.quantities:
        table.add_column(SHORT[quantity], no_wrap=True)
    for shape in bench.settings.shapes:
        row = [_target(found.get((shape.name, quantity))) for quantity in bench.settings.quantities]
        table.add_row(shape.name, *row)
    yield table


def _target(target: Target | None) -> Text:
    if target is None:
        return Text("–", style="dim")
    sign, word, style = ("≥", "met", "green") if target.met else ("<", "not met", "bold red")
    return Text(f"{target.ratio.median:.2f} {sign} {target.wanted:g} {word}", style=style)


def _absent(absent: dict[str, str]) -> Iterable[RenderableType]:
    for name, reason in absent.items():
        yield Text.assemble(("not measured  ", "yellow"), (name, "cyan"), f": {reason}")
