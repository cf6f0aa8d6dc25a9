"""What the figures of a search have in common: how trials are marked, and axes that a few bad trials do not press."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from memx.report.style import Theme
from memx.report.words import millions, short_bytes
from memx.search.rows import Goal, Standing, Trial
from memx.search.words import DICE, goal_words, value_words

Kind = Literal["front", "complete", "infeasible", "pruned", "running", "refused", "failed"]
WIDE = 20.0
"""Quotient of the largest and the smallest value from which on an axis is logarithmic."""


@dataclass(frozen=True)
class Look:
    """How trials of a kind are drawn; `size` in points."""

    marker: str
    colour: str
    filled: bool
    size: float
    words: str

    def scatter(self, axes: Axes, x: Any, y: Any, *, marker: str = "", zorder: float = 3, **place: Any) -> None:
        """Draw points so."""
        stroke = self.marker in "x+" and not marker
        faces = {"c": self.colour} if stroke else {"facecolors": self.colour if self.filled else "none"}
        edges = {} if stroke else {"edgecolors": self.colour}
        width = 0.0 if self.filled and not stroke else 1.1
        axes.scatter(
            x,
            y,
            s=self.size**2,
            marker=marker or self.marker,
            linewidths=width,
            zorder=zorder,
            **faces,
            **edges,
            **place,
        )

    def handle(self) -> Line2D:
        """The same in a legend."""
        face = self.colour if self.filled else "none"
        return Line2D(
            [], [], ls="", marker=self.marker, color=self.colour, mfc=face, mew=1.1, ms=self.size, label=self.words
        )


def looks(theme: Theme, standing: Standing) -> dict[Kind, Look]:
    """By kind, in the order of the legend."""
    return {
        "front": Look("o", theme.second, True, 6.5, "best" if len(standing.goals) == 1 else "Pareto front"),
        "complete": Look("o", theme.first, True, 4.8, "complete"),
        "infeasible": Look("o", theme.first, False, 4.8, "breaks a constraint"),
        "running": Look("s", theme.third, False, 4.5, "running"),
        "pruned": Look("x", theme.muted, True, 4.5, "pruned, last value"),
        "refused": Look("D", theme.muted, False, 4.0, "refused, not trained"),
        "failed": Look("X", theme.ink, True, 5.5, "failed"),
    }


def kinds(standing: Standing) -> dict[int, Kind]:
    """Number → kind of each trial that is drawn; one that waits or was taken over is not."""
    front = {trial.number for trial in standing.best()}
    found: dict[int, Kind] = {}
    for trial in standing.trials:
        if trial.state == "complete":
            found[trial.number] = (
                "front" if trial.number in front else "infeasible" if trial.feasible is False else "complete"
            )
        elif trial.state in ("pruned", "refused", "failed", "running"):
            found[trial.number] = trial.state
    return found


def goal_value(trial: Trial, goal: Goal) -> float | None:
    """What was measured, or the last validation's Dice of a trial that did not come to its end."""
    if goal.measure in trial.measures:
        return trial.measures[goal.measure]
    return trial.curve[-1][1] if goal.measure == DICE and trial.curve else None


@dataclass(frozen=True)
class Scale:
    """Ends of a goal's axis, whether it is logarithmic, and whether it counts bytes."""

    low: float
    high: float
    log: bool
    bytes: bool = False

    @classmethod
    def of(cls, goal: Goal, complete: Sequence[float], others: Iterable[float]) -> Scale:
        """From the best value to the worst, but no further than four times the way to the worse quartile.

        Only a goal to be minimised is logarithmic: where its values are positive and far apart.
        """
        values = np.array([*complete] or [*others], dtype=np.float64)
        log = goal.direction == "minimize" and values.min() > 0 and values.max() > WIDE * values.min()
        places = np.log(values) if log else values
        up = goal.direction == "maximize"
        best, worst = (places.max(), places.min()) if up else (places.min(), places.max())
        quartile = np.quantile(places, 0.25 if up else 0.75)
        reach = max(4 * abs(best - quartile), 1e-9)
        end = max(worst, best - reach) if up else min(worst, best + reach)
        low, high = min(best, end), max(best, end)
        room = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
        low, high = low - room, high + room
        ends = (math.exp(low), math.exp(high)) if log else (float(low), float(high))
        return cls(*ends, bool(log), goal.measure.endswith("_bytes"))

    def clipped(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def apply(self, axes: Axes, along: Literal["x", "y"]) -> None:
        """Set an axis of a figure so, with round ticks."""
        axis = axes.xaxis if along == "x" else axes.yaxis
        if self.log:
            axes.set(**{f"{along}scale": "log"})
        axes.set(**{f"{along}lim": (self.low, self.high)})
        log_ticks(axis, self.low, self.high) if self.log else axis.set_major_locator(MaxNLocator(5))
        if self.high >= 1e4:
            form = short_bytes if self.bytes else millions
            axis.set_major_formatter(FuncFormatter(lambda value, _: re.sub(r"\.0+(?=\D)", "", form(value))))


def scale_of(standing: Standing, goal: Goal, of: Mapping[int, Kind]) -> Scale:
    """The scale that complete trials have, or all where none is."""
    values = {trial.number: goal_value(trial, goal) for trial in standing.trials}
    told = {number: value for number, value in values.items() if value is not None}
    complete = [value for number, value in told.items() if of.get(number) in ("front", "complete", "infeasible")]
    return Scale.of(goal, complete, told.values())


def log_ticks(axis: Any, low: float, high: float, *, least: int = 3) -> None:
    """Powers of ten, or as many between them as make at least so many ticks."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= least:
            break
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_formatter(NullFormatter())


def _tick(value: float) -> str:
    return f"{value:,g}" if 1e-3 <= value < 1e6 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def limits(standing: Standing, measure: str) -> list[float]:
    """The bounds that constraints of the form `measure < 20` set for a measure."""
    found = []
    for constraint in standing.constraints:
        name, _, rest = constraint.partition("<" if "<" in constraint else ">")
        if name.strip() == measure and rest:
            try:
                found.append(float(rest.lstrip("=").strip()))
            except ValueError:  # a bound in words, which no axis can show
                continue
    return found


def draw_limits(
    axes: Axes, theme: Theme, standing: Standing, goal: Goal, scale: Scale, along: Literal["x", "y"]
) -> None:
    """Dashed lines at the constraints of a goal that lie on its axis."""
    for bound in limits(standing, goal.measure):
        if scale.holds(bound):
            line = axes.axvline if along == "x" else axes.axhline
            line(bound, color=theme.ink, linestyle=(0, (4, 3)), linewidth=1.1, zorder=2)


def limit_handle(theme: Theme) -> Line2D:
    """A constraint's line in a legend."""
    return Line2D([], [], color=theme.ink, linestyle=(0, (4, 3)), linewidth=1.1, label="constraint")


def beyond_handle(theme: Theme) -> Line2D:
    """The arrowhead on the edge in a legend."""
    return Line2D([], [], ls="", marker="v", color=theme.muted, markersize=5, label="beyond the axis")


def legend(figure: Figure, handles: Sequence[Any], columns: int = 4) -> None:
    """Below the figure."""
    figure.legend(
        handles=list(handles), loc="outside lower center", ncols=columns, handletextpad=0.5, columnspacing=1.4
    )


def axis_words(goal: Goal) -> str:
    """What an axis is called, with an arrow to where the goal is."""
    words = goal_words(goal)
    return f"{words[0].upper()}{words[1:]} {'↑' if goal.direction == 'maximize' else '↓'}"


def trial_words(trial: Trial, parameter: str | None) -> str:
    """A trial's number and what it is at heart: `22 gated_delta`."""
    value = trial.parameters.get(parameter, None) if parameter else None
    return f"{trial.number} {value_words(value)}" if value is not None else str(trial.number)


def spread(places: Sequence[float], apart: float, top: float) -> list[float]:
    """Falling places moved as little as keeps neighbours `apart`, the highest at most at `top`.

    The least squares of an isotonic regression, before the top pushes down.
    """
    groups: list[tuple[float, int]] = []  # sum and number of places that lie together, each moved up to the first
    for number, place in enumerate(places):
        total, size = place + number * apart, 1
        while groups and groups[-1][0] / groups[-1][1] < total / size:
            before = groups.pop()
            total, size = total + before[0], size + before[1]
        groups.append((total, size))
    level = [total / size for total, size in groups for _ in range(size)]
    return [min(place, top) - number * apart for number, place in enumerate(level)]
