"""Slices of a search: one goal against each parameter, a panel a parameter."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from memx.report.search_axes import (
    WIDE,
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
    log_ticks,
    looks,
    scale_of,
)
from memx.report.style import ImageFormat, Theme, render
from memx.search.columns import cut
from memx.search.rows import Goal, Scalar, Standing, Trial
from memx.search.words import differing, short_names, value_words

ACROSS, MOST = 4, 12
"""Panels in a row, and panels at most."""
FEW = 8
"""Different numbers that have a tick each."""
_SHOWN: tuple[Kind, ...] = ("pruned", "infeasible", "complete", "front")


def sliced(standing: Standing) -> list[str]:
    """The parameters that have panels: those that differ between complete trials, at most twelve, the commonest."""
    drawn = [trial.parameters for trial in standing.trials if trial.state == "complete"]
    names = [n for n in differing(standing) if len({value_words(p[n]) for p in drawn if n in p}) > 1]
    common = sorted(names, key=lambda name: -sum(name in parameters for parameters in drawn))[:MOST]
    return [name for name in names if name in common]


def slices(standing: Standing, goal: Goal, *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """A goal over every parameter that differs: choices as strips with their medians, numbers along an axis.

    Numbers are on a logarithmic axis where they are far apart or grow by a factor; where they are few, each has a tick.
    Raises ValueError where no parameter differs between complete trials.
    """
    names = sliced(standing)
    if not names:
        raise ValueError("standing: no parameter differs between complete trials, so there is nothing to draw")
    across = min(ACROSS, len(names))
    down = math.ceil(len(names) / across)
    short = short_names(names)

    def draw(figure: Figure, theme: Theme) -> None:
        grid: Any = figure.subplots(down, across, sharey=True, squeeze=False)
        of = kinds(standing)
        scale = scale_of(standing, goal, of)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, names, strict=False):
            _panel(axes, theme, standing, goal, name, scale, of)
            axes.set_title(cut(short[name], 26))
        scale.apply(grid[0, 0], "y")
        for axes in grid[:, 0]:
            axes.set_ylabel(axis_words(goal))
        items = [
            look.handle() for kind, look in looks(theme, standing).items() if kind in set(of.values()) & set(_SHOWN)
        ]
        items.append(Line2D([], [], color=theme.ink, linewidth=1.6, label="median of a choice"))
        if any(not scale.holds(y) for t in standing.trials if (y := _shown(t, goal, of)) is not None):
            items.append(beyond_handle(theme))
        if any(map(scale.holds, limits(standing, goal.measure))):
            items.append(limit_handle(theme))
        legend(figure, items, columns=6)

    return render(draw, (9.4, 0.7 + 2.5 * down), format=format, dark=dark)


def _panel(
    axes: Axes, theme: Theme, standing: Standing, goal: Goal, name: str, scale: Scale, of: Mapping[int, Kind]
) -> None:
    trials = [trial for trial in standing.trials if name in trial.parameters and _shown(trial, goal, of) is not None]
    places = _places(axes, [trial.parameters[name] for trial in trials])
    draw_limits(axes, theme, standing, goal, scale, "y")
    look = looks(theme, standing)
    groups: dict[tuple[Kind, str], list[tuple[float, float]]] = defaultdict(list)
    for trial, x in zip(trials, places.jittered.tolist(), strict=True):
        y = goal_value(trial, goal)
        assert y is not None
        marker = "" if scale.holds(y) else "v" if y < scale.low else "^"
        groups[of[trial.number], marker].append((x, scale.clipped(y)))
    for (kind, marker), points in groups.items():
        zorder = 3 + 0.1 * _SHOWN.index(kind)
        look[kind].scatter(axes, *zip(*points, strict=True), marker=marker, zorder=zorder, clip_on=False)
    if places.choices:
        _medians(axes, theme, trials, places.exact, goal, scale)


def _shown(trial: Trial, goal: Goal, of: Mapping[int, Kind]) -> float | None:
    """The value of a trial that is drawn."""
    return goal_value(trial, goal) if of.get(trial.number) in _SHOWN else None


class _Places:
    """Where values stand along an axis: exactly, and beside each other where many stand on one place."""

    def __init__(self, exact: np.ndarray, width: float, *, choices: bool, log: bool):
        self.exact, self.choices = exact, choices
        shift = np.random.default_rng(0).uniform(-width, width, len(exact))
        self.jittered = exact * np.exp(shift) if log else exact + shift


def _places(axes: Axes, values: Sequence[Scalar]) -> _Places:
    """Set the axis for the values, with its ticks."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        words = [value_words(value) for value in values]
        order = sorted(dict.fromkeys(words))
        axes.set_xticks(range(len(order)), [cut(word, 14) for word in order])
        axes.set_xlim(-0.6, len(order) - 0.4)
        if len(order) * max(map(len, order)) > 17:
            axes.tick_params(axis="x", rotation=25)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.grid(visible=False, axis="x")
        return _Places(np.array([order.index(word) for word in words], float), 0.16, choices=True, log=False)
    numbers = np.array(values, dtype=np.float64)
    distinct = np.unique(numbers)
    low, high = float(distinct[0]), float(distinct[-1])
    log = low > 0 and (high > WIDE * low or _grows_by_a_factor(distinct))
    span = math.log(high) - math.log(low) if log else high - low
    few = len(distinct) <= FEW
    if log:
        axes.set_xscale("log")
        axes.set_xlim(low * math.exp(-0.1 * span), high * math.exp(0.1 * span))
        log_ticks(axes.xaxis, low, high, least=2)
    else:
        axes.set_xlim(low - 0.1 * span, high + 0.1 * span)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    if few:
        axes.xaxis.set_major_locator(FixedLocator(distinct.tolist()))
        axes.xaxis.set_minor_locator(NullLocator())
    return _Places(numbers, 0.25 * span / max(FEW, 2 * len(distinct)) if few else 0.0, choices=False, log=log)


def _grows_by_a_factor(distinct: np.ndarray) -> bool:
    """Whether at least three values have equal quotients, as 32, 64, 128 have."""
    if len(distinct) < 3:
        return False
    steps = distinct[1:] / distinct[:-1]
    return bool(np.allclose(steps, steps[0], rtol=0.02) and steps[0] > 1.3)


def _medians(axes: Axes, theme: Theme, trials: Sequence[Trial], places: np.ndarray, goal: Goal, scale: Scale) -> None:
    """The median of the complete trials of each choice."""
    for place in np.unique(places):
        values = [
            trial.measures[goal.measure]
            for trial, at in zip(trials, places, strict=True)
            if at == place and trial.state == "complete"
        ]
        if values:
            middle = scale.clipped(float(np.median(values)))
            axes.plot([place - 0.3, place + 0.3], [middle, middle], color=theme.ink, linewidth=1.6, zorder=5)
