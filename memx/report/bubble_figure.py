"""The bubble figure: frames a second against Dice, parameters as area, a colour a memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from memx.report.label_places import Box
from memx.report.point_names import LETTERS, Named, name_points
from memx.report.style import ImageFormat, Theme, render

COLOURS_LIGHT = ("#0072b2", "#d55e00", "#00805e", "#b5548c", "#b98500", "#45a2dd", "#5b6776", "#7a4fa3")
COLOURS_DARK = ("#56b4e9", "#f0a04b", "#3ccf9f", "#e28cbb", "#f0e442", "#5c86ff", "#9aa6b4", "#b79be0")
SHAPES: tuple[tuple[str, float], ...] = (("o", 1.0), ("s", math.pi / 4), ("D", math.pi / 4))
"""Markers for the first eight kinds, the next eight and so on, with what makes their areas those of discs."""
LARGEST, SMALLEST = 15.0, 2.5
"""Radii of bubbles, in points."""
PLAIN = 6.0
"""Radius where area says nothing."""
WIDE = 4.0
"""Quotient of the largest and the smallest value from which on an axis is logarithmic."""


@dataclass(frozen=True)
class Bubble:
    """One network.

    fps       frames a second
    kind      type of its memory, which gives the colour
    dice      None where there is none: not trained
    interval  of the Dice
    remark    stands below the name
    """

    name: str
    fps: float
    parameters: int
    kind: str
    dice: float | None = None
    interval: tuple[float, float] | None = None
    remark: str = ""


@dataclass(frozen=True)
class _Mark:
    """A bubble as it is drawn."""

    words: str
    x: float
    y: float
    radius: float
    colour: str
    shape: tuple[str, float]
    interval: tuple[float, float] | None


def bubbles(
    points: Sequence[Bubble],
    *,
    quantity: str = "Dice",
    source: str = "",
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """Frames a second to the right, Dice upwards with its interval, parameters as area, a colour a memory.

    Networks without a Dice stand in a strip of their own below the axis. Where none has one, parameters are drawn
    upwards instead, and the title says so. An axis whose largest value is four times its smallest is logarithmic. From
    the ninth memory on, colours come again in another shape.

    quantity  what the axis of Dice is called
    source    the line below the figure: device, precision, how it was timed

    Raises ValueError where there is nothing to draw, and for frames a second or parameters that are not positive.
    """
    if not points:
        raise ValueError("points: there is nothing to draw")
    for point in points:
        if not (point.fps > 0 and math.isfinite(point.fps) and point.parameters > 0):
            raise ValueError(f"{point.name}: {point.fps} frames a second and {point.parameters} parameters")
    kinds = list(dict.fromkeys(point.kind for point in points))
    palette = COLOURS_DARK if dark else COLOURS_LIGHT
    looks = {kind: (palette[number % 8], SHAPES[number // 8 % 3]) for number, kind in enumerate(kinds)}
    scored = [point for point in points if point.dice is not None]
    unscored = [point for point in points if point.dice is None] if scored else []
    most = max(point.parameters for point in points)

    def mark(point: Bubble, y: float) -> _Mark:
        radius = max(LARGEST * math.sqrt(point.parameters / most), SMALLEST) if scored else PLAIN
        words = f"{point.name}\n{point.remark}" if point.remark else point.name
        interval = point.interval if point.dice is not None else None
        return _Mark(words, point.fps, y, radius, *looks[point.kind], interval)

    marks = [mark(point, point.parameters / 1e6 if point.dice is None else point.dice) for point in scored or points]
    strip = [mark(point, lane) for lane, point in enumerate(sorted(unscored, key=lambda item: item.fps))]
    speeds = [point.fps for point in points]
    low_high = (min(point.parameters for point in points), most) if scored else None

    def draw(figure: Figure, theme: Theme) -> None:
        rows = (3.7, 0.1 + 0.36 * len(strip)) if strip else (1.0,)
        grid = figure.add_gridspec(len(rows), 2, height_ratios=rows, width_ratios=(1, 0.2))
        axes = figure.add_subplot(grid[0, 0])
        _bubbles(axes, theme, marks)
        _scale(axes, "x", speeds)
        if scored:
            _scale_dice(axes, marks, quantity)
        else:
            _scale(axes, "y", [item.y for item in marks])
            axes.set_ylabel("parameters, millions")
            axes.set_title("Size against speed: none of these networks has a Dice")
        panels: list[tuple[Axes, list[_Mark]]] = [(axes, marks)]
        if strip:
            below = figure.add_subplot(grid[1, 0], sharex=axes)
            _bubbles(below, theme, strip)
            below.set_ylim(len(strip) - 0.4, -0.6)
            below.set_yticks([])
            below.spines["left"].set_visible(False)
            below.set_title("no Dice", fontsize=LETTERS, weight="normal", color=theme.muted)
            axes.tick_params(labelbottom=False)
            panels.append((below, strip))
        panels[-1][0].set_xlabel("frames a second")
        _legends(figure.add_subplot(grid[:, 1]), theme, looks, low_high)
        if source:
            figure.supxlabel(fill(source, 118), x=0.012, ha="left", fontsize=7.5, color=theme.muted)
        figure.draw_without_rendering()  # lays the figure out, so that places on it are known
        figure.set_layout_engine("none")
        for panel, shown in panels:
            named = [Named(item.words, item.x, item.y, item.radius) for item in shown]
            name_points(figure, panel, theme, named, _intervals(figure, panel, shown))

    return render(draw, (7.6, 4.7 + (0.5 + 0.36 * len(strip) if strip else 0)), format=format, dark=dark)


def _bubbles(axes: Axes, theme: Theme, marks: Sequence[_Mark]) -> None:
    """Small ones over large ones, and their intervals over all."""
    axes.set_axisbelow(True)
    for item in sorted(marks, key=lambda item: -item.radius):
        look: dict[str, Any] = {"color": item.colour, "alpha": 0.8, "edgecolors": theme.background, "linewidths": 1}
        marker, share = item.shape
        area = share * (2 * item.radius) ** 2
        axes.scatter(item.x, item.y, s=area, marker=marker, zorder=3, clip_on=False, **look)
        if item.interval is not None:
            colour = 0.55 * np.array(to_rgb(item.colour)) + 0.45 * np.array(to_rgb(theme.ink))
            axes.vlines(item.x, *item.interval, color=colour, linewidth=1.1, zorder=3.5)


def _scale(axes: Axes, along: Literal["x", "y"], values: Sequence[float]) -> None:
    """From a little below the values to a little above, with round ticks; logarithmic where they are far apart."""
    low, high = min(values), max(values)
    axis, limits = (axes.xaxis, axes.set_xlim) if along == "x" else (axes.yaxis, axes.set_ylim)
    if high / low > WIDE:
        axes.set(**{f"{along}scale": "log"})
        room = (high / low) ** 0.13
        limits(low / room, high * room)
        axis.set_major_locator(FixedLocator(_round_ticks(low / room, high * room)))
        axis.set_minor_locator(NullLocator())
    else:
        room = max(0.18 * (high - low), 0.08 * high)
        limits(max(low - room, 0.0), high + room)
        axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _scale_dice(axes: Axes, marks: Sequence[_Mark], quantity: str) -> None:
    ends = [end for item in marks for end in (*(item.interval or ()), item.y)]
    low, high = min(ends), max(ends)
    room = max(0.14 * (high - low), 0.012)
    ticks = MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(low - room, high + room)
    digits = 3 if ticks[1] - ticks[0] < 0.0099 else 2
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= 1]))
    axes.yaxis.set_major_formatter(StrMethodFormatter(f"{{x:.{digits}f}}"))
    axes.set_ylim(low - room, high + room)
    axes.set_ylabel(quantity)
    axes.set_title(f"{quantity.partition(',')[0]}, speed and size")


def _legends(
    axes: Axes,
    theme: Theme,
    looks: Mapping[str, tuple[str, tuple[str, float]]],
    low_high: tuple[int, int] | None,
) -> None:
    """Memories at the top; sizes at the bottom, where area says something."""
    axes.set_axis_off()
    common: dict[str, Any] = {"alignment": "left", "borderaxespad": 0, "borderpad": 0, "title_fontsize": 9}
    dots = [
        Line2D([], [], marker=marker, ls="", markersize=7, color=colour, label=kind)
        for kind, (colour, (marker, _)) in looks.items()
    ]
    legend = axes.legend(handles=dots, title="memory", loc="upper left", handletextpad=0.4, handlelength=1, **common)
    legend.get_title().set_color(theme.muted)
    if low_high is None:
        return
    bottom, across = 2.0, 2 * LARGEST
    for number in reversed(_round_sizes(*low_high)):
        radius = LARGEST * math.sqrt(number / low_high[1])
        _size(axes, theme, (across / 2, bottom + radius), radius, _amount(number))
        bottom += max(2 * radius, LETTERS) + 5
    shift = _points(axes, 0, bottom + 3)
    axes.text(0, 0, "parameters", transform=shift, fontsize=9, color=theme.muted)


def _size(axes: Axes, theme: Theme, centre: tuple[float, float], radius: float, words: str) -> None:
    """A hollow bubble of the legend and, beside it, what its area says."""
    look: dict[str, Any] = {"s": (2 * radius) ** 2, "facecolors": "none", "edgecolors": theme.muted, "linewidths": 1}
    axes.scatter(0, 0, transform=_points(axes, *centre), clip_on=False, **look)
    beside = _points(axes, 2 * LARGEST + 6, centre[1])
    axes.text(0, 0, words, transform=beside, va="center_baseline", fontsize=9)


def _points(axes: Axes, x: float, y: float) -> Transform:
    """(0, 0) is x and y points from the lower left corner."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transAxes + ScaledTranslation(x / 72, y / 72, figure.dpi_scale_trans)


def _intervals(figure: Figure, axes: Axes, marks: Sequence[_Mark]) -> list[Box]:
    """The boxes of the intervals' lines, in points."""
    found: list[Box] = []
    for item in marks:
        if item.interval is not None:
            ends = [(item.x, end) for end in item.interval]
            (x, low), (_, high) = 72 / figure.dpi * axes.transData.transform(ends)
            found.append((x - 1, low, x + 1, high))
    return found


def _round_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the ends; more where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) > 3:
            break
    return found


def _round_sizes(least: int, most: int) -> list[int]:
    """Up to three round numbers for the legend, the largest at most the largest bubble's, about four times apart."""
    steps = [step * 10**power for power in range(15) for step in (1, 2, 5)]
    below = [number for number in steps if number <= most]
    sizes = [number for number in below[::-1][:5:2] if number >= least / 3]
    return sorted(sizes or [below[-1]])


def _amount(number: int) -> str:
    return f"{number / 1e6:g} M" if number >= 1e6 else f"{number / 1e3:g} k" if number >= 1e3 else str(number)
