"""Figures of a profile: arithmetic by component, times with their 95th percentile, and bytes held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from memx.report.style import ImageFormat, Theme, render
from memx.report.words import millions, short_bytes


@dataclass(frozen=True)
class Cost:
    """What a component costs in one call; FLOPs are 2 · macs + elementwise."""

    name: str
    macs: int
    elementwise: int
    parameters: int


@dataclass(frozen=True)
class Time:
    """Milliseconds a frame in one mode; `detail` stands beside them."""

    name: str
    median: float
    p95: float
    detail: str = ""


def component_costs(costs: Sequence[Cost], *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """FLOPs of each component, those of multiply-accumulates and elementwise ones apart, beside its parameters.

    The most FLOPs come first. Raises ValueError for no component.
    """
    if not costs:
        raise ValueError("costs needs at least one component")
    shown = sorted(costs, key=lambda cost: -(2 * cost.macs + cost.elementwise))

    def draw(figure: Figure, theme: Theme) -> None:
        arithmetic, parameters = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = np.arange(len(shown))
        products, pointwise = (np.array([getattr(cost, name) for cost in shown]) for name in ("macs", "elementwise"))
        flops = 2 * products + pointwise
        arithmetic.barh(places, 2 * products, height=0.62, color=theme.first, label="multiply-accumulates, × 2")
        arithmetic.barh(
            places, pointwise, left=2 * products, height=0.62, color=theme.first, alpha=0.4, label="elementwise"
        )
        total = max(int(flops.sum()), 1)
        _name_bars(arithmetic, flops, [_part(int(n), total) for n in flops], theme)
        arithmetic.set_title(f"FLOPs: {millions(total)}")
        arithmetic.legend(loc="lower right", borderaxespad=0)
        weights = np.array([cost.parameters for cost in shown])
        parameters.barh(places, weights, height=0.62, color=theme.second)
        _name_bars(parameters, weights, [millions(n) for n in weights], theme)
        parameters.set_title(f"Parameters: {millions(int(weights.sum()))}")
        _rows(arithmetic, [cost.name for cost in shown], theme)
        parameters.tick_params(axis="y", length=0)
        for axes in (arithmetic, parameters):
            axes.set_xticks([])
            _bare(axes)

    return render(draw, (9.4, 1.1 + 0.34 * len(shown)), format=format, dark=dark)


def frame_times(items: Sequence[Time], *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """Median milliseconds a frame as bars from zero, with a whisker to the 95th percentile.

    Raises ValueError for no item.
    """
    if not items:
        raise ValueError("items needs at least one mode")

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        places = np.arange(len(items))
        medians = np.array([item.median for item in items])
        ends = np.maximum([item.p95 for item in items], medians)
        axes.barh(places, medians, height=0.55, color=theme.first)
        axes.hlines(places, medians, ends, color=theme.ink, linewidth=1.4)
        axes.vlines(ends, places - 0.12, places + 0.12, color=theme.ink, linewidth=1.4)
        labels = [f"{item.median:,.2f} ms" + (f"\n{item.detail}" if item.detail else "") for item in items]
        _name_bars(axes, ends, labels, theme, room=1.55)
        _rows(axes, [item.name for item in items], theme)
        _bare(axes, bottom=True)
        axes.set_xlabel("ms a frame, whisker to the 95th percentile")
        axes.xaxis.set_major_locator(MaxNLocator(4))

    return render(draw, (4.8, 1.0 + 0.56 * len(items)), format=format, dark=dark)


def time_shares(milliseconds: Mapping[str, float], *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """Milliseconds that each component takes of a frame and its share, the most first.

    Raises ValueError for no component.
    """
    if not milliseconds:
        raise ValueError("milliseconds needs at least one component")
    shown = sorted(milliseconds.items(), key=lambda item: -item[1])

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        values = np.array([value for _, value in shown])
        total = float(values.sum()) or 1.0
        axes.barh(np.arange(len(shown)), values, height=0.62, color=theme.third)
        _name_bars(axes, values, [_share(value, total) for value in values], theme, room=1.45)
        _rows(axes, [name for name, _ in shown], theme)
        _bare(axes)
        axes.set_xticks([])

    return render(draw, (4.8, 0.6 + 0.3 * len(shown)), format=format, dark=dark)


def bytes_held(groups: Mapping[str, Mapping[str, float]], *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """Bytes on a logarithmic axis, a dot each: `{"peak": {"a frame, 1 clip": …}, "state": {…}}`, a colour a group.

    Raises ValueError where there is nothing above zero to draw.
    """
    rows = [(group, name, size) for group, items in groups.items() for name, size in items.items() if size > 0]
    if not rows:
        raise ValueError("groups: there are no bytes to draw")

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        colours = dict(zip(groups, (theme.muted, theme.first, theme.second, theme.third) * len(groups), strict=False))
        sizes = [size for *_, size in rows]
        axes.set_xlim(min(sizes) / 2, max(sizes) * 12)
        for place, (group, _, size) in enumerate(rows):
            axes.hlines(place, min(sizes) / 2, size, color=theme.grid, linewidth=1.2)
            axes.plot(size, place, "o", color=colours[group], markersize=7.5)
            axes.annotate(
                short_bytes(size),
                (size, place),
                (9, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=theme.ink,
            )
        _rows(axes, [f"{group}, {name}" if name else group for group, name, _ in rows], theme)
        _bare(axes, bottom=True)
        axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1.0,), numticks=5))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda size, _: short_bytes(size).replace(".00", "").replace(".0", ""))
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.set_xlabel("bytes, logarithmic")

    return render(draw, (4.8, 0.9 + 0.32 * len(rows)), format=format, dark=dark)


def _share(milliseconds: float, total: float) -> str:
    share = milliseconds / total
    return f"{milliseconds:,.2f} ms  {'<1%' if share < 0.005 else f'{share:.0%}'}"


def _part(flops: int, total: int) -> str:
    """A count and its share; what is something is not rounded down to nothing."""
    if not flops:
        return "0"
    share = flops / total
    return f"{millions(flops)}  {'<1%' if share < 0.005 else f'{share:.0%}'}"


def _name_bars(axes: Axes, ends: np.ndarray, labels: Sequence[str], theme: Theme, *, room: float = 1.35) -> None:
    """A label at the end of every bar, and as much room as they need: the axis ends at `room` times the longest bar."""
    axes.set_xlim(0, max(float(ends.max()), 1e-9) * room)
    for place, (end, label) in enumerate(zip(ends, labels, strict=True)):
        axes.annotate(label, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=9, color=theme.ink)


def _rows(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    """Names at the left, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0, labelcolor=theme.ink, labelsize=9.5)


def _bare(axes: Axes, *, bottom: bool = False) -> None:
    """No frame but the line at zero, and no grid but one that says how much where there are ticks."""
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    if bottom:
        axes.tick_params(axis="x", length=0)
    else:
        axes.grid(visible=False, axis="x")
