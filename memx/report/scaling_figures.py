"""How cost and memory grow: a line a mechanism, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

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

    Raises ValueError where there is nothing to draw.
    """
    if not panels or not any(growth.places for lines in panels.values() for growth in lines.values()):
        raise ValueError("panels: nothing was reached, so there is nothing to draw")

    def draw(figure: Figure, theme: Theme) -> None:
        colours = (theme.first, theme.second, theme.third, theme.muted)
        markers = ("o", "s", "^", "D")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, lines) in zip(row, panels.items(), strict=True):
            for number, (name, line) in enumerate(lines.items()):
                colour, marker = colours[number % 4], markers[(number + number // 4) % 4]
                axes.plot(line.places, line.values, color=colour, marker=marker, markersize=4.5, label=name)
            axes.set_xscale("log")
            axes.set_yscale("log")
            ticks = sorted({at for line in lines.values() for at in line.places})
            axes.set_xticks(ticks)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            for scale in (axes.xaxis, axes.yaxis):
                scale.set_minor_formatter(NullFormatter())
            axes.minorticks_off()
            axes.set_xlabel(axis)
            axes.set_title(title)
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

    return render(draw, (4.4 * len(panels), 3.7), format=format, dark=dark)
