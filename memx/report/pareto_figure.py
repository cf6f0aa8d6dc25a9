"""The Pareto front: what every trial reached in one goal against what it cost in another."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from memx.report.bubble_figure import COLOURS_DARK, COLOURS_LIGHT
from memx.report.label_places import Box
from memx.report.point_names import Named, name_points
from memx.report.search_axes import (
    Kind,
    Scale,
    axis_words,
    beyond_handle,
    draw_limits,
    goal_value,
    kinds,
    legend,
    limit_handle,
    limits,
    looks,
    scale_of,
    trial_words,
)
from memx.report.style import ImageFormat, Theme, render
from memx.search.rows import Goal, Standing, Trial
from memx.search.words import kind_parameter, short_names, value_words

NAMED = 16
"""Members of the front at most that have their names."""
FRONT, OTHER = 7.5, 5.0
"""Diameters in points."""
_ORDER: tuple[Kind, ...] = ("pruned", "infeasible", "complete", "front")


def pareto(standing: Standing, *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """Complete trials by two goals, or by every pair of more; the front with names, joined where there are two goals.

    The first goal stands upwards. A colour is a value of the choice that says most of a trial, `kind_parameter`. What
    breaks a constraint is hollow, constraints on a goal are dashed lines, and what was pruned is a small cross where
    its values were when it ended. Trials beyond the axes are arrowheads on the edge.
    Raises ValueError for fewer than two goals, and where no trial is complete.
    """
    if len(standing.goals) < 2:
        raise ValueError(f"standing: a front needs two goals, and {standing.name} has {len(standing.goals)}")
    if not any(trial.state == "complete" for trial in standing.trials):
        raise ValueError("standing: no trial is complete yet, so there is nothing to draw")
    pairs = list(combinations(standing.goals, 2))
    across = min(len(pairs), 3)
    down = math.ceil(len(pairs) / across)

    def draw(figure: Figure, theme: Theme) -> None:
        grid: Any = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(pairs) :]:
            axes.set_axis_off()
        of = kinds(standing)
        front = standing.best()
        parameter = kind_parameter(standing)
        colours = _colours(standing, parameter, dark)
        beyond = False
        for axes, (up, along) in zip(grid.flat, pairs, strict=False):
            scales = {goal.measure: scale_of(standing, goal, of) for goal in (up, along)}
            beyond |= _panel(axes, theme, standing, (along, up), scales, of, colours, parameter)
            if len(pairs) == 1:
                _staircase(axes, theme, front, (along, up), scales)
        legend(
            figure, _handles(standing, theme, of, colours, parameter, several=len(pairs) > 1, beyond=beyond), columns=5
        )
        figure.draw_without_rendering()  # lays the figure out, so that places on it are known
        figure.set_layout_engine("none")
        for axes, (up, along) in zip(grid.flat, pairs, strict=False):
            names = [
                Named(
                    trial_words(trial, parameter) if len(pairs) == 1 else str(trial.number),
                    trial.measures[along.measure],
                    trial.measures[up.measure],
                    FRONT / 2,
                )
                for trial in front[:NAMED]
            ]
            stairs = _boxes(figure, axes) if len(pairs) == 1 else []
            name_points(figure, axes, theme, names, stairs)

    return render(draw, (9.4, 0.9 + (4.4 if len(pairs) == 1 else 3.4 * down)), format=format, dark=dark)


def _panel(
    axes: Axes,
    theme: Theme,
    standing: Standing,
    goals: tuple[Goal, Goal],
    scales: Mapping[str, Scale],
    of: Mapping[int, Kind],
    colours: Mapping[str, str],
    parameter: str | None,
) -> bool:
    """All trials that have both values; whether one of them lies beyond an axis."""
    outside = False
    along, up = goals
    across, upright = scales[along.measure], scales[up.measure]
    across.apply(axes, "x")
    upright.apply(axes, "y")
    draw_limits(axes, theme, standing, along, across, "x")
    draw_limits(axes, theme, standing, up, upright, "y")
    groups: dict[tuple[Kind, str, str], list[tuple[float, float]]] = defaultdict(list)
    for trial in standing.trials:
        kind = of.get(trial.number)
        x, y = goal_value(trial, along), goal_value(trial, up)
        if x is None or y is None or kind not in _ORDER:
            continue
        arrow = _beyond(across, x, "<>") or _beyond(upright, y, "v^")
        outside |= bool(arrow)
        marker = arrow or ("x" if kind == "pruned" else "o")
        colour = theme.muted if kind == "pruned" else colours.get(_kind(trial, parameter), theme.first)
        groups[kind, marker, colour].append((across.clipped(x), upright.clipped(y)))
    for (kind, marker, colour), points in groups.items():
        look: dict[str, Any] = {"color": colour, "alpha": 0.75, "linewidths": 0}
        if kind == "infeasible":
            look = {"facecolors": "none", "edgecolors": colour, "linewidths": 1.2}
        elif kind == "front":
            look = {"color": colour, "edgecolors": theme.ink, "linewidths": 1.2}
        elif marker == "x":
            look = {"color": colour, "alpha": 0.6, "linewidths": 0.9}
        size = FRONT if kind == "front" else 3.6 if kind == "pruned" else OTHER
        zorder = 3 + 0.1 * _ORDER.index(kind)
        axes.scatter(*zip(*points, strict=True), s=size**2, marker=marker, clip_on=False, zorder=zorder, **look)
    axes.set_xlabel(axis_words(along))
    axes.set_ylabel(axis_words(up))
    return outside


def _staircase(
    axes: Axes, theme: Theme, front: Sequence[Trial], goals: tuple[Goal, Goal], scales: Mapping[str, Scale]
) -> None:
    """The border of what the front beats."""
    along, up = goals
    points = sorted((trial.measures[along.measure], trial.measures[up.measure]) for trial in front)
    if len(points) < 2:
        return
    x, y = zip(*points, strict=True)
    where = "post" if along.direction == "minimize" else "pre"
    x = [scales[along.measure].clipped(value) for value in x]
    y = [scales[up.measure].clipped(value) for value in y]
    axes.step(x, y, where=where, color=theme.muted, linewidth=1.2, zorder=2)


def _boxes(figure: Figure, axes: Axes) -> list[Box]:
    """What the lines of a figure cover, in points: the treads and risers of its stairs, and its constraints."""
    found: list[Box] = []
    for line in axes.lines:
        path = line.get_transform().transform_path(line.get_path())
        corners = 72 / figure.dpi * np.asarray(path.vertices)
        for (x0, y0), (x1, y1) in pairwise(corners.tolist()):
            found.append((min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1))
    return found


def _handles(
    standing: Standing,
    theme: Theme,
    of: Mapping[int, Kind],
    colours: Mapping[str, str],
    parameter: str | None,
    *,
    several: bool,
    beyond: bool,
) -> list[Line2D]:
    """What colours, rings, hollow marks and lines are."""
    common: dict[str, Any] = {"ls": "", "marker": "o"}
    short = short_names([parameter])[parameter] if parameter else ""
    found = [
        Line2D([], [], color=colour, ms=OTHER, label=f"{short} {kind}", **common) for kind, colour in colours.items()
    ]
    ring: dict[str, Any] = {"mec": theme.ink, "mfc": "none", "mew": 1.2, "ms": FRONT}
    words = "Pareto front, by number" if several else "Pareto front"
    found.append(Line2D([], [], color=theme.ink, label=words, **ring, **common))
    if "infeasible" in of.values():
        hollow: dict[str, Any] = {"mec": theme.muted, "mfc": "none", "mew": 1.2, "ms": OTHER}
        found.append(Line2D([], [], label="breaks a constraint", **hollow, **common))
    if "pruned" in of.values():
        found.append(looks(theme, standing)["pruned"].handle())
    if beyond:
        found.append(beyond_handle(theme))
    if any(limits(standing, goal.measure) for goal in standing.goals):
        found.append(limit_handle(theme))
    return found


def _colours(standing: Standing, parameter: str | None, dark: bool) -> dict[str, str]:
    """A colour a value, as far as colours go."""
    if parameter is None:
        return {}
    found = dict.fromkeys(_kind(trial, parameter) for trial in standing.trials if trial.state == "complete")
    return dict(zip(found, COLOURS_DARK if dark else COLOURS_LIGHT, strict=False))


def _kind(trial: Trial, parameter: str | None) -> str:
    return value_words(trial.parameters.get(parameter)) if parameter else ""


def _beyond(scale: Scale, value: float, markers: str) -> str:
    """The arrowhead for a value that the axis does not hold."""
    return "" if scale.holds(value) else markers[value > scale.high]
