"""Figures of a study over its course: every trial's goals, their learning curves, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from memx.report.search_axes import (
    Kind,
    Look,
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
    spread,
    trial_words,
)
from memx.report.style import ImageFormat, Theme, halo, render
from memx.search.importance import best_share
from memx.search.rows import Goal, Standing, Trial
from memx.search.words import conditional, goal_words, kind_parameter, short_names

NAMED = 8
"""Curves at most that have their trial's number at their end."""


def history(standing: Standing, *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """Each goal by trial number with the best so far as steps; trials that did not come to their end are marked.

    A value that is far worse than most is an arrowhead on the edge, and a trial without a value stands there too.
    Raises ValueError where no trial has a value.
    """
    goals = [goal for goal in standing.goals if any(goal_value(t, goal) is not None for t in standing.trials)]
    if not goals:
        raise ValueError("standing: no trial has a value yet, so there is nothing to draw")

    def draw(figure: Figure, theme: Theme) -> None:
        panels = figure.subplots(len(goals), 1, sharex=True, squeeze=False)[:, 0]
        of = kinds(standing)
        look = looks(theme, standing)
        for axes, goal in zip(panels, goals, strict=True):
            scale = scale_of(standing, goal, of)
            scale.apply(axes, "y")
            draw_limits(axes, theme, standing, goal, scale, "y")
            _best_so_far(axes, theme, standing, goal, scale)
            for kind, item in look.items():
                trials = [trial for trial in standing.trials if of.get(trial.number) == kind]
                _points(axes, trials, goal, scale, kind, item)
            axes.set_title(axis_words(goal))
        panels[-1].set_xlabel("trial")
        panels[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
        panels[-1].set_xlim(-0.02 * len(standing.trials) - 0.5, 1.02 * len(standing.trials) - 0.5)
        handles = [item.handle() for kind, item in look.items() if kind in of.values()]
        handles.append(Line2D([], [], color=theme.second, linewidth=1.6, label="best so far"))
        if any(_beyond(standing, goal, of) for goal in goals):
            handles.append(beyond_handle(theme))
        if any(limits(standing, goal.measure) for goal in goals):
            handles.append(limit_handle(theme))
        legend(figure, handles)

    return render(draw, (9.4, 1.2 + 2.3 * len(goals)), format=format, dark=dark)


def trial_curves(standing: Standing, *, format: ImageFormat = "svg", dark: bool = False) -> bytes:
    """Validation Dice by training step of every trial: the best or the front with their numbers, the pruned faint.

    Raises ValueError where no trial was validated.
    """
    shown = [trial for trial in standing.trials if trial.curve]
    if not shown:
        raise ValueError("standing: no trial was validated yet, so there is nothing to draw")
    front = standing.best()

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        of = kinds(standing)
        styles: dict[str, tuple[str, float, float, str]] = {
            "pruned": (theme.muted, 0.9, 0.45, "pruned"),
            "failed": (theme.muted, 0.9, 0.45, "failed or taken over"),
            "complete": (theme.first, 1.1, 0.5, "complete"),
            "running": (theme.third, 1.4, 0.9, "running"),
            "front": (theme.second, 2.0, 1.0, "best" if len(standing.goals) == 1 else "Pareto front"),
        }
        handles = []
        for name, (colour, width, alpha, words) in styles.items():
            group = [trial for trial in shown if _curve_group(trial, of) == name]
            for trial in group:
                steps, dice = zip(*trial.curve, strict=True)
                dashes = ":" if name == "failed" else "-"
                axes.plot(steps, dice, color=colour, linewidth=width, alpha=alpha, linestyle=dashes)
                if name in ("pruned", "failed"):
                    axes.plot(steps[-1], dice[-1], "x", color=theme.muted, markersize=4)
                elif len(trial.curve) == 1 or name == "running":
                    axes.plot(steps[-1], dice[-1], "o", color=colour, markersize=3.5)
            if group:
                marker = "x" if name in ("pruned", "failed") else None
                look: dict[str, Any] = {"color": colour, "linewidth": width, "alpha": max(alpha, 0.7)}
                handles.append(Line2D([], [], marker=marker, markersize=4, label=words, **look))
        _curve_limits(axes, shown)
        axes.set_xlabel("training step")
        axes.set_title("Validation Dice")
        _name_ends(axes, theme, [trial for trial in front if trial.curve][:NAMED], kind_parameter(standing))
        legend(figure, handles[::-1], columns=5)

    return render(draw, (9.4, 4.2), format=format, dark=dark)


def parameter_importance(
    standing: Standing,
    importances: Mapping[str, Mapping[str, float]],
    *,
    format: ImageFormat = "svg",
    dark: bool = False,
) -> bytes:
    """The share of each parameter in what tells the best trials from the rest, a panel a goal.

    importances  measure of a goal → parameter → share, as `memx.search.importance.importances` has them

    Raises ValueError where there are none.
    """
    goals = [goal for goal in standing.goals if importances.get(goal.measure)]
    if not goals:
        raise ValueError("importances: there are none, so there is nothing to draw")
    mean = {
        name: float(np.mean([importances[goal.measure].get(name, 0.0) for goal in goals]))
        for name in dict.fromkeys(name for goal in goals for name in importances[goal.measure])
    }
    names = sorted(mean, key=lambda name: (-mean[name], name))
    some = set(conditional(standing))
    short = short_names(names)

    def draw(figure: Figure, theme: Theme) -> None:
        row = figure.subplots(1, len(goals), sharey=True, squeeze=False)[0]
        colours = (theme.first, theme.second, theme.third)
        for number, (axes, goal) in enumerate(zip(row, goals, strict=True)):
            shares = [importances[goal.measure].get(name, 0.0) for name in names]
            axes.barh(range(len(names)), shares, height=0.62, color=colours[number % 3])
            for place, share in enumerate(shares):
                words = "<1%" if 0 < share < 0.01 else f"{share:.0%}"
                axes.annotate(words, (share, place), (5, 0), textcoords="offset points", va="center", fontsize=9)
            axes.set_xlim(0, 1.25 * max(shares))
            axes.set_xticks([])
            axes.grid(visible=False)
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.set_title(goal_words(goal))
        row[0].set_yticks(range(len(names)), [short[name] + (" †" if name in some else "") for name in names])
        row[0].tick_params(axis="y", labelcolor=theme.ink, labelsize=9.5)
        row[0].set_ylim(len(names) - 0.45, -0.55)
        figure.supxlabel(fill(_how(standing, names, some), 122), x=0.012, ha="left", fontsize=8, color=theme.muted)

    return render(draw, (9.4, 1.5 + 0.34 * len(names)), format=format, dark=dark)


def _how(standing: Standing, names: Sequence[str], some: set[str]) -> str:
    """What a share is, and what becomes of conditional parameters."""
    complete = sum(trial.state == "complete" for trial in standing.trials)
    said = [
        f"Share of each parameter in what tells the best {best_share(max(complete, 1)):.0%} of {complete} complete "
        "trials from the rest, goal by goal (PED-ANOVA)."
    ]
    if some & set(names):
        said.append(
            "† Only some choices have it: it is taken in those trials alone, weighted with how often the best trials "
            "have it."
        )
    left = [name for name in some if name not in names]
    if left:
        short = short_names([*names, *left])
        said.append(f"Not assessed, since not every trial has them: {', '.join(short[name] for name in sorted(left))}.")
    return " ".join(said)


def _beyond(standing: Standing, goal: Goal, of: Mapping[int, Kind]) -> bool:
    """Whether a value is drawn on the edge."""
    scale = scale_of(standing, goal, of)
    values = (goal_value(trial, goal) for trial in standing.trials if trial.number in of)
    return any(value is not None and not scale.holds(value) for value in values)


def _best_so_far(axes: Axes, theme: Theme, standing: Standing, goal: Goal, scale: Scale) -> None:
    better = max if goal.direction == "maximize" else min
    steps: list[tuple[int, float]] = []
    for trial in standing.candidates():
        value = trial.measures[goal.measure]
        steps.append((trial.number, better(value, steps[-1][1]) if steps else value))
    if steps:
        steps.append((standing.trials[-1].number, steps[-1][1]))
        numbers, best = zip(*steps, strict=True)
        best = [scale.clipped(value) for value in best]
        axes.step(numbers, best, where="post", color=theme.second, linewidth=1.6, alpha=0.8, zorder=2.5)


def _points(axes: Axes, trials: Sequence[Trial], goal: Goal, scale: Scale, kind: Kind, look: Look) -> None:
    """A kind's trials at their values; those beyond the axis, or without a value, on its edge."""
    inside, beyond, without = [], [], []
    for trial in trials:
        value = goal_value(trial, goal)
        if value is None:
            without.append(trial.number)
        elif scale.holds(value):
            inside.append((trial.number, value))
        else:
            beyond.append((trial.number, value))
    zorder = {"front": 4.0, "complete": 3.5}.get(kind, 3.0)
    if inside:
        look.scatter(axes, *zip(*inside, strict=True), zorder=zorder, clip_on=False)
    for marker, ends in (
        ("v", [at for at in beyond if at[1] < scale.low]),
        ("^", [at for at in beyond if at[1] > scale.high]),
    ):
        if ends:
            places = [scale.clipped(value) for _, value in ends]
            look.scatter(axes, [number for number, _ in ends], places, marker=marker, zorder=zorder, clip_on=False)
    if without:
        edge = 0.0 if goal.direction == "maximize" else 1.0
        places = [edge] * len(without)
        look.scatter(axes, without, places, zorder=zorder, clip_on=False, transform=axes.get_xaxis_transform())


def _curve_group(trial: Trial, of: Mapping[int, Kind]) -> str:
    kind = of.get(trial.number, "failed")
    return "complete" if kind == "infeasible" else kind


def _curve_limits(axes: Axes, shown: Sequence[Trial]) -> None:
    """From where most curves begin; a few that lie below leave the picture."""
    values = np.array([dice for trial in shown for _, dice in trial.curve])
    low, high = float(np.quantile(values, 0.02)), float(values.max())
    room = 0.06 * (high - low) or 0.02
    axes.set_ylim(low - room, high + room)


def _name_ends(axes: Axes, theme: Theme, trials: Sequence[Trial], parameter: str | None) -> None:
    """What trials are at the ends of their curves, as near to them as leaves a line's height between two."""
    ends = sorted(trials, key=lambda trial: -trial.curve[-1][1])
    low, high = axes.get_ylim()
    heights = spread([trial.curve[-1][1] for trial in ends], 0.062 * (high - low), high)
    line = {"arrowstyle": "-", "color": theme.muted, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
    right = max(trial.curve[-1][0] for trial in ends) if ends else 0
    for trial, height in zip(ends, heights, strict=True):
        step, dice = trial.curve[-1]
        axes.annotate(
            trial_words(trial, parameter),
            (step, dice),
            (right, height),
            textcoords=offset_copy(axes.transData, axes.get_figure(root=True), x=20, units="points"),
            va="center",
            fontsize=8.5,
            color=theme.ink,
            path_effects=halo(theme),
            annotation_clip=False,
            arrowprops=line,
        )
