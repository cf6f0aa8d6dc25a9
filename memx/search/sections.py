"""What the page of a search shows, section by section."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from memx.report.html import Draw, Figure, Link, Section, Table, Text, Tile, Tiles
from memx.report.pareto_figure import pareto
from memx.report.search_axes import goal_value
from memx.report.search_figures import history, parameter_importance, trial_curves
from memx.report.slice_figure import sliced, slices
from memx.search.importance import FEWEST
from memx.search.rows import Standing, Trial
from memx.search.words import (
    ABSENT,
    best_first,
    count,
    counts,
    differing,
    duration,
    ended,
    goal_words,
    kind_parameter,
    measure_title,
    measure_unit,
    other_measures,
    short_names,
    standing_form,
    standing_of,
    value_words,
    with_unit,
)


def tiles(standing: Standing) -> Tiles:
    """Trials, the best of every goal, the size of the front, and the time that trials took."""
    done, front = ended(standing), standing.best()
    of = f" of {standing.budget:,}" if standing.budget is not None else ""
    shown = [Tile("Trials ended", f"{len(done):,}{of}", counts(standing) or "none has begun")]
    parameter = kind_parameter(standing)
    for goal in standing.goals:
        values = {trial.number: trial.measures[goal.measure] for trial in front}
        label = f"Best {measure_title(goal.measure)}"
        if values:
            pick = max if goal.direction == "maximize" else min
            best = pick(front, key=lambda trial: values[trial.number])
            what = value_words(best.parameters[parameter]) if parameter in best.parameters else ""
            detail = ", ".join(filter(None, (f"trial {best.number}", what)))
            shown.append(Tile(label, with_unit(standing, goal.measure, values[best.number]), detail))
        else:
            shown.append(Tile(label, ABSENT, "no complete trial keeps all constraints"))
    if len(standing.goals) > 1:
        shown.append(Tile("Pareto front", count(len(front), "trial"), "beaten by no other"))
    spent = [trial.seconds for trial in standing.trials if trial.seconds is not None]
    shown.append(Tile("Time of all trials", duration(sum(spent)), "trials side by side count each"))
    return Tiles("The search at a glance", shown, _constraints(standing))


def winners(standing: Standing, page: Path) -> Table | Text:
    """The best trials, or the front: what they reached and what they are."""
    front = standing.best()
    if not front:
        return Text("Winners", "There is no complete trial that keeps all constraints.")
    shown = front if len(standing.goals) > 1 else best_first(standing, front)[:5]
    title = "Members of the front" if len(standing.goals) > 1 else "The best trials"
    note = (
        "Validation patients have chosen these trials, so their Dice flatters them: train the recipes again with other "
        "seeds before comparing."
    )
    return _table(title, standing, shown, front, page, note)


def all_trials(standing: Standing, page: Path) -> Table | Text:
    """Every trial by number, with a link to its run."""
    if not standing.trials:
        return Text("All trials", "No trial has begun.")
    note = "trials.csv beside this page has every parameter and measure."
    return _table("All trials", standing, standing.trials, standing.best(), page, note, reasons=True)


def figures(standing: Standing, importances: Mapping[str, Mapping[str, float]]) -> list[Section]:
    """Front, history, learning curves, importance and slices, as far as there is something to draw."""
    found: list[Section] = []
    goals = " and ".join(goal_words(goal) for goal in standing.goals)
    complete = [trial for trial in standing.trials if trial.state == "complete"]
    if len(standing.goals) > 1 and complete:
        members = ", ".join(_result(standing, trial) for trial in standing.best())
        alt = f"{goals} of {count(len(complete), 'complete trial')}; the front: {members or 'none'}"
        found.append(_wide("Pareto front", partial(pareto, standing), alt, _FRONT))
    if any(goal_value(trial, goal) is not None for trial in standing.trials for goal in standing.goals):
        alt = f"{goals} by number of the trial; {counts(standing)}"
        found.append(_wide("History", partial(history, standing), alt, _HISTORY))
    curves = sum(bool(trial.curve) for trial in standing.trials)
    if curves:
        alt = f"Validation Dice by training step of {count(curves, 'trial')}"
        found.append(_wide("Learning curves", partial(trial_curves, standing), alt, _CURVES))
    found.append(_importance(standing, importances, len(complete)))
    if sliced(standing):
        short = short_names(differing(standing))
        names = ", ".join(short[name] for name in sliced(standing))
        for goal in standing.goals:
            alt = f"{goal_words(goal)} against {names}, a panel each"
            found.append(_wide(f"Slices: {measure_title(goal.measure)}", partial(slices, standing, goal), alt, _SLICES))
    return found


_FRONT = (
    "No complete trial that keeps all constraints is as good in every goal as a member of the front and better in one. "
    "Names begin with the trial's number. Pruned trials stand where they were when they ended."
)
_HISTORY = (
    "Trials that were pruned stand at their last value. Arrowheads on the edge are trials whose values lie beyond the "
    "axis; other marks on the edge are trials without a value."
)
_CURVES = "A cross is where a trial was stopped. Curves that start lower than nearly all begin below the picture."
_SLICES = (
    "Panels show only the parameters that differ between complete trials. Other parameters vary along with the one "
    "shown, and the sampler tries good regions more often, so a slice is a hint and no effect."
)


def _importance(standing: Standing, importances: Mapping[str, Mapping[str, float]], complete: int) -> Section:
    """The figure, or why there is none."""
    title = "What mattered"
    shown = [goal for goal in standing.goals if importances.get(goal.measure)]
    if not shown:
        if complete < FEWEST:
            return Text(title, f"{count(complete, 'complete trial')}: too few to tell; importance wants {FEWEST}.")
        return Text(title, "Nothing tells the best trials from the rest, or a single parameter was drawn.")
    short = short_names({name for goal in shown for name in importances[goal.measure]})
    alt = "; ".join(
        f"{goal_words(goal)}: "
        + ", ".join(f"{short[name]} {share:.0%}" for name, share in importances[goal.measure].items())
        for goal in shown
    )
    return _wide(title, partial(parameter_importance, standing, importances), alt)


def _wide(title: str, draw: Draw, alt: str, note: str = "") -> Figure:
    return Figure(title, draw(dark=False), alt, note, draw(dark=True), wide=True)


def _table(
    title: str,
    standing: Standing,
    shown: Sequence[Trial],
    front: Sequence[Trial],
    page: Path,
    note: str,
    *,
    reasons: bool = False,
) -> Table:
    goals = [goal.measure for goal in standing.goals]
    others = other_measures(standing)
    parameters = short_names(differing(standing), map(measure_title, [*goals, *others]))
    states = [standing_of(standing, trial, front) for trial in shown]
    columns: dict[str, list[str]] = {"State": states} if len(set(states)) > 1 else {}
    for name in goals:
        columns[_head(standing, name)] = _values(standing, name, shown)
    for name, short in parameters.items():
        drawn = [trial.parameters for trial in shown]
        columns[short] = [value_words(values[name]) if name in values else ABSENT for values in drawn]
    for name in others:
        columns[_head(standing, name)] = _values(standing, name, shown)
    columns["Time"] = [duration(trial.seconds) for trial in shown]
    if reasons and any(trial.reason for trial in shown):
        columns["Why"] = [" ".join(trial.reason.split()) for trial in shown]
    links = [_link(trial, page) for trial in shown]
    rows: list[list[str | Link]] = [list(row) for row in zip(links, *columns.values(), strict=True)]
    return Table(title, ["Trial", *columns], rows, note)


def _head(standing: Standing, measure: str) -> str:
    unit = measure_unit(measure, standing.goals)
    head = measure_title(measure) + (f", {unit}" if unit else "")
    return head[0].upper() + head[1:]


def _values(standing: Standing, measure: str, shown: Sequence[Trial]) -> list[str]:
    form = standing_form(standing, measure)
    return [form(trial.measures[measure]) if measure in trial.measures else ABSENT for trial in shown]


def _link(trial: Trial, page: Path) -> str | Link:
    """The trial's number, leading to its run's report or folder where it has one on the same drive."""
    if trial.run is None:
        return str(trial.number)
    target = trial.run / "report.html" if (trial.run / "report.html").is_file() else trial.run
    try:
        path = Path(os.path.relpath(target.absolute(), page.parent.absolute())).as_posix()
    except ValueError:  # another drive, to which no relative path leads
        return f"{trial.number}\n{trial.run}"
    return Link(str(trial.number), path)


def _result(standing: Standing, trial: Trial) -> str:
    """`trial 22 with Dice 0.9162, latency 9.74 ms`."""
    goals = (
        f"{measure_title(goal.measure)} {with_unit(standing, goal.measure, trial.measures[goal.measure])}"
        for goal in standing.goals
    )
    return f"trial {trial.number} with {', '.join(goals)}"


def _constraints(standing: Standing) -> str:
    return f"Constraints: {'; '.join(standing.constraints)}." if standing.constraints else ""


def plain(standing: Standing, page: Path) -> dict[str, Any]:
    """The study as data for other programs; run folders relative to the page."""
    return {
        "name": standing.name,
        "goals": [{"measure": goal.measure, "direction": goal.direction, "unit": goal.unit} for goal in standing.goals],
        "constraints": list(standing.constraints),
        "budget": standing.budget,
        "best": [trial.number for trial in standing.best()],
        "trials": [
            {
                "number": trial.number,
                "state": trial.state,
                "feasible": trial.feasible,
                "parameters": trial.parameters,
                "measures": trial.measures,
                "seconds": trial.seconds,
                "run": link.path if isinstance(link := _link(trial, page), Link) else None,
                "reason": trial.reason,
            }
            for trial in standing.trials
        ],
    }
