"""How cost and memory grow: a line a mechanism, both axes logarithmic, and flat lines drawn flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, StrMethodFormatter

from memx.report.style import ImageFormat, Theme, render


@dataclass(frozen=True)
class Growth:
    """One mechanism's values at some places of an axis, such as milliseconds after so many frames."""

    places: Sequence[int]
    values: Sequence[float]


def growth(
    panels: Mapping[str, Mapping[str, Growth]], *, axis: str, format: ImageFormat = "svg", dark: bool = False
) -> bytes:
    """A panel a quantity, `{"ms a frame": {"gated_delta": …, "softmax": …}}`; `axis` names what the places are.

    An axis of values spans a decade at least, so that noise does not look like growth.
    Raises ValueError where there is nothing to draw.
    """
    if not panels or not any(growth.places for lines in panels.values() for growth in lines.values()):
        raise ValueError("panels: nothing was reached, so there is nothing to draw")

    def draw(figure: Figure, theme: Theme) -> None:
        colours = (theme.first, theme.second, theme.third, theme.muted)
        markers, dashes = ("o", "s", "^", "D"), ("-", "--", "-.", ":")  # two lines on one place both show
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, lines) in zip(row, panels.items(), strict=True):
            for number, (name, line) in enumerate(lines.items()):
                colour, marker = colours[number % 4], markers[(number + number // 4) % 4]
                look = {"color": colour, "marker": marker, "markersize": 4.5, "linestyle": dashes[number % 4]}
                axes.plot(line.places, line.values, label=name, **look)
            axes.set_xscale("log")
            axes.set_yscale("log")
            ticks = sorted({at for line in lines.values() for at in line.places})
            axes.set_xticks(ticks)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            for scale in (axes.xaxis, axes.yaxis):
                scale.set_minor_formatter(NullFormatter())
            axes.minorticks_off()
            _set_values(axes, [value for line in lines.values() for value in line.values])
            axes.set_xlabel(axis)
            axes.set_title(title)
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

    return render(draw, (min(4.4 * len(panels), 9.8), 3.5), format=format, dark=dark)


def _set_values(axes: Axes, values: Sequence[float]) -> None:
    """Limits of at least a decade about the values, and ticks at decades, or at 1, 2 and 5 of each where few fit."""
    low, high = min(values) / 1.25, max(values) * 1.25
    if high < 10 * low:
        middle = sqrt(low * high)
        low, high = middle / sqrt(10), middle * sqrt(10)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
