"""Names beside the points of a figure that is laid out, with a line to those that had to move away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from memx.report.label_places import Box, Disc, leader, place_labels
from memx.report.style import Theme, halo

LETTERS = 8.5
PLACED: dict[str, Any] = {"xycoords": "figure points", "textcoords": "figure points", "annotation_clip": False}


@dataclass(frozen=True)
class Named:
    """A point of the axes with its name; `radius` in points of 1/72 inch."""

    words: str
    x: float
    y: float
    radius: float


def name_points(
    figure: Figure, axes: Axes, theme: Theme, points: Sequence[Named], obstacles: Sequence[Box] = ()
) -> None:
    """A name beside each point, with a line to its middle where it had to move away.

    obstacles  boxes in points that names keep off where they can
    """
    if not points:
        return
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    scale = 72 / figure.dpi
    centres = scale * axes.transData.transform([(item.x, item.y) for item in points])
    discs: list[Disc] = []
    for (x, y), item in zip(centres, points, strict=True):
        probe = figure.text(0, 0, item.words, fontsize=LETTERS, linespacing=1.15)
        extent = probe.get_window_extent(renderer)
        probe.remove()
        discs.append(Disc(x, y, item.radius + 0.6, scale * extent.width, scale * extent.height))
    inside = axes.get_window_extent(renderer)
    bounds = (scale * inside.x0 + 2, scale * inside.y0 + 1, scale * inside.x1 + 4, scale * inside.y1 + 4)
    for disc, box, item in zip(discs, place_labels(discs, bounds, obstacles), points, strict=True):
        others = [other for other in discs if other is not disc]
        covered = any(math.dist((disc.x, disc.y), (o.x, o.y)) < disc.radius + o.radius - 3 for o in others)
        if covered or math.dist(*leader(disc, box)) - disc.radius > 5:
            _line(axes, theme, item, disc, box)
        _name(axes, theme, disc, box, item.words)


def _line(axes: Axes, theme: Theme, item: Named, disc: Disc, box: Box) -> None:
    """From the middle of a point to its name."""
    middle, end = leader(disc, box)
    line = {"arrowstyle": "-", "color": theme.ink, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", middle, xytext=end, arrowprops=line, zorder=4, **PLACED)
    axes.plot(item.x, item.y, "o", markersize=2.6, markeredgewidth=0, color=theme.ink, zorder=4)


def _name(axes: Axes, theme: Theme, disc: Disc, box: Box, words: str) -> None:
    side = "left" if box[0] >= disc.x else "right" if box[2] <= disc.x else "center"
    x = {"left": box[0], "right": box[2], "center": (box[0] + box[2]) / 2}[side]
    look: dict[str, Any] = {"fontsize": LETTERS, "linespacing": 1.15, "color": theme.ink, "multialignment": side}
    at = (x, (box[1] + box[3]) / 2)
    axes.annotate(words, at, xytext=at, ha=side, va="center", path_effects=halo(theme), zorder=5, **look, **PLACED)
