"""A study in a terminal: the table of `memx search`, live and printed, and a line a trial where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from memx.search.columns import NARROW, Column, cut, fit, plain
from memx.search.rows import Goal, Standing, Trial
from memx.search.words import (
    ABSENT,
    DICE,
    best_first,
    conditional,
    counts,
    differing,
    duration,
    ended,
    measure_title,
    measure_unit,
    other_measures,
    short_names,
    standing_form,
    standing_of,
    value_words,
    with_unit,
)

REASONS = 3
"""So many of the latest refusals, failures and take-overs are told."""
_ARROWS = {"maximize": "↑", "minimize": "↓"}


def standing_table(standing: Standing, *, width: int | None = None, limit: int = 12) -> RenderableType:
    """How a study stands: what is done, the best trials, those running now, and what went wrong last.

    width  cells; None: all that the console has
    limit  rows of each table; how many more there are is said
    """
    return _Shown(standing, width, limit)


def trial_line(standing: Standing, trial: Trial) -> str:
    """What a log says when a trial has ended: its state, its goals, what was drawn, how long it took."""
    of = f" of {standing.budget:,}" if standing.budget is not None else ""
    state = standing_of(standing, trial, standing.best())
    goals = [
        f"{measure_title(goal.measure)} {with_unit(standing, goal.measure, trial.measures[goal.measure])}"
        for goal in standing.goals
        if goal.measure in trial.measures
    ]
    if trial.curve and DICE not in trial.measures:
        step, dice = trial.curve[-1]
        goals.append(f"Dice {dice:.4f} at step {step}")
    names = short_names(differing(standing))
    drawn = [f"{names[name]}={value_words(value)}" for name, value in trial.parameters.items() if name in names]
    parts = [
        f"trial {trial.number}",
        {"best": "best so far", "front": "in the front"}.get(state, state),
        *goals,
        " ".join(drawn),
        duration(trial.seconds) if trial.seconds is not None else "",
        _one_line(trial.reason),
        f"{len(ended(standing)):,}{of} ended",
    ]
    return "  ".join(filter(None, parts))


@dataclass(frozen=True)
class _Shown:
    """Laid out when the width is known."""

    standing: Standing
    width: int | None
    limit: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, self.width or options.max_width)
        front = self.standing.best()
        parts: list[RenderableType] = _headline(self.standing, front)
        parts += _best_table(self.standing, front, width, self.limit)
        parts += _running_table(self.standing, width, self.limit)
        parts += _reasons(self.standing, width)
        yield from console.render(Group(*parts), options.update_width(width))


def _headline(standing: Standing, front: Sequence[Trial]) -> list[RenderableType]:
    """What is done, in which states, and the best so far."""
    done = len(ended(standing))
    of = f" of {standing.budget:,}" if standing.budget is not None else ""
    lines: list[RenderableType] = [
        Text.assemble((standing.name, "bold"), f"  {done:,}{of} trials ended"),
        Text(counts(standing) or "no trial has begun"),
    ]
    if front:
        lines.append(Text(_best_words(standing, front), style="bold"))
    elif done:
        kept = " that keeps all constraints" if any(t.state == "complete" for t in standing.trials) else ""
        over = standing.budget is not None and done >= standing.budget
        lines.append(Text(f"no complete trial{kept}{'' if over else ' yet'}"))
    return lines


def _best_words(standing: Standing, front: Sequence[Trial]) -> str:
    """The best value, or the ends of the front in every goal."""
    if len(standing.goals) == 1:
        (goal,) = standing.goals
        value = with_unit(standing, goal.measure, front[0].measures[goal.measure])
        return f"best {measure_title(goal.measure)} {value}, trial {front[0].number}"
    ranges = []
    for goal in standing.goals:
        form, values = standing_form(standing, goal.measure), [trial.measures[goal.measure] for trial in front]
        ends = dict.fromkeys((form(min(values)), form(max(values))))
        ranges.append(
            f"{measure_title(goal.measure)} {' to '.join(ends)} {measure_unit(goal.measure, [goal])}".rstrip()
        )
    return f"front: {', '.join(ranges)}"


def _best_table(standing: Standing, front: Sequence[Trial], width: int, limit: int) -> list[RenderableType]:
    """Complete trials, the front or the best one in bold, as far as the limit goes."""
    trials = best_first(standing, front)
    shown = trials[:limit]
    if not shown:
        return []
    columns = [
        Column("#", [str(trial.number) for trial in shown]),
        Column("state", [standing_of(standing, trial, front) for trial in shown], right=False),
        *(_measure(standing, goal.measure, shown, goal) for goal in standing.goals),
        *_parameters(standing, shown),
        *(_measure(standing, name, shown) for name in other_measures(standing)),
        *_whereabouts(shown),
    ]
    title = "best trials" if len(standing.goals) == 1 else "Pareto front first"
    bold = [place for place, trial in enumerate(shown) if any(trial is other for other in front)]
    return _fitted(title, columns, bold, len(trials) - len(shown), width)


def _running_table(standing: Standing, width: int, limit: int) -> list[RenderableType]:
    """Running trials with the Dice of their last validation, and what of their measures is known."""
    trials = [trial for trial in standing.trials if trial.state == "running"]
    shown = trials[:limit]
    if not shown:
        return []
    goals = [goal for goal in standing.goals if goal.measure != DICE and any(goal.measure in t.measures for t in shown)]
    last = [trial.curve[-1] if trial.curve else None for trial in shown]
    columns = [
        Column("#", [str(trial.number) for trial in shown]),
        Column("step", [ABSENT if point is None else f"{point[0]:,}" for point in last]),
        Column("Dice now", [ABSENT if point is None else f"{point[1]:.4f}" for point in last]),
        *(_measure(standing, goal.measure, shown, goal) for goal in goals),
        *_parameters(standing, shown),
        *_whereabouts(shown),
    ]
    return _fitted("running", columns, (), len(trials) - len(shown), width)


def _fitted(title: str, columns: Sequence[Column], bold: Sequence[int], more: int, width: int) -> list[RenderableType]:
    """A table under its title, and below it what there was no room for."""
    shown, widest = fit(columns, width)
    gone = [column.name for column in columns if column not in shown]
    notes = [f"and {more:,} more"] * (more > 0)
    notes += [f"no room at this width: {', '.join(cut(name, NARROW + 8) for name in gone)}"] * bool(gone)
    below: list[RenderableType] = [Text("; ".join(notes), style="dim")] if notes else []
    return ["", Text(title, style="bold"), plain(shown, widest, bold=bold), *below]


def _measure(standing: Standing, name: str, shown: Sequence[Trial], goal: Goal | None = None) -> Column:
    """A goal's column stays whatever the width; those of other measures go after time and folder."""
    form, unit = standing_form(standing, name), measure_unit(name, standing.goals)
    head = " ".join(filter(None, (measure_title(name), unit, _ARROWS[goal.direction] if goal else "")))
    cells = [form(trial.measures[name]) if name in trial.measures else ABSENT for trial in shown]
    return Column(head, cells, rank=0 if goal else 3)


def _parameters(standing: Standing, shown: Sequence[Trial]) -> list[Column]:
    """What was drawn, as far as it differs; those that only some trials have go before those that all have."""
    names = short_names(differing(standing), {goal.measure for goal in standing.goals})
    some = conditional(standing)
    columns = []
    for name, head in names.items():
        values = [trial.parameters[name] for trial in shown if name in trial.parameters]
        if not values:
            continue
        figures = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        cells = [value_words(trial.parameters[name]) if name in trial.parameters else ABSENT for trial in shown]
        columns.append(Column(head, cells, rank=2 if name in some else 1, right=figures))
    return columns


def _whereabouts(shown: Sequence[Trial]) -> list[Column]:
    """Time and folder."""
    return [
        Column("time", [duration(trial.seconds) for trial in shown], rank=4),
        Column("run", [trial.run.name if trial.run else ABSENT for trial in shown], rank=5, right=False),
    ]


def _reasons(standing: Standing, width: int) -> list[RenderableType]:
    """Why the latest trials were refused, failed or taken over, a line each."""
    told = [trial for trial in standing.trials if trial.reason][-REASONS:]
    words = (f"trial {trial.number} {trial.state.replace('_', ' ')}: {_one_line(trial.reason)}" for trial in told)
    lines: list[RenderableType] = [Text(cut(line, width), style="dim") for line in words]
    return ["", *lines] if lines else []


def _one_line(text: str) -> str:
    return " ".join(text.split())
