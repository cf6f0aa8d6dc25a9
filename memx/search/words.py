"""How a study is put into words: short names of parameters, titles of measures, values and times."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from memx.report.words import millions, short_bytes
from memx.search.rows import Goal, Scalar, Standing, Trial

DICE = "dice"
"""The measure that `Trial.curve` holds by iteration."""
ABSENT = "–"
_TITLES = {DICE: "Dice", "macs": "MACs", "flops": "FLOPs"}
_UNITS = ("ms", "s")
_DONE = ("complete", "pruned", "refused", "failed")


def short_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Each dotted name and its shortest ending that no other has and that is not taken.

    `model.memory[softmax].heads` → `heads`, or `softmax.heads`, `memory[softmax].heads` where that is not clear.
    """
    unique = list(dict.fromkeys(names))
    endings = {name: _endings(name) for name in unique}
    counts = Counter(ending for name in unique for ending in set(endings[name]))
    counts.update(taken)
    return {name: next((e for e in endings[name] if counts[e] == 1), name) for name in unique}


def _endings(name: str) -> list[str]:
    """From the last part to the whole; what is left of a bracket is a part like any other."""
    starts = [match.end() for match in re.finditer(r"[.\[]", name)][::-1]
    found = [name[start:] for start in starts if start < len(name)]
    return [end if end.count("[") == end.count("]") else end.replace("]", "", 1) for end in found] + [name]


def differing(standing: Standing) -> list[str]:
    """The parameters that are not the same in all trials, in the order of their first use; all of a lone trial."""
    drawn = [trial.parameters for trial in standing.trials if trial.parameters]
    names = list(dict.fromkeys(name for parameters in drawn for name in parameters))
    if len(drawn) < 2:
        return names
    return [name for name in names if len({value_words(parameters.get(name, ABSENT)) for parameters in drawn}) > 1]


def conditional(standing: Standing) -> list[str]:
    """The parameters that some trials have and others, which drew any, do not."""
    drawn = [trial.parameters for trial in standing.trials if trial.parameters]
    names = dict.fromkeys(name for parameters in drawn for name in parameters)
    return [name for name in names if not all(name in parameters for parameters in drawn)]


def kind_parameter(standing: Standing) -> str | None:
    """The choice that says most of what a trial is: the one that other parameters hang on, else the first that differs.

    None where no parameter is a choice of words.
    """
    names = differing(standing)
    drawn = [trial.parameters for trial in standing.trials]
    words = [name for name in names if all(isinstance(parameters.get(name, ""), str | None) for parameters in drawn)]
    parents = [name for name in words if any(other.startswith(f"{name}[") for other in names)]
    return next(iter(parents or words), None)


def other_measures(standing: Standing) -> list[str]:
    """What was measured and is no goal."""
    goals = {goal.measure for goal in standing.goals}
    return [name for name in dict.fromkeys(n for trial in standing.trials for n in trial.measures) if name not in goals]


def measure_title(name: str) -> str:
    """`latency_ms` → latency, `macs` → MACs."""
    stem, _, unit = name.rpartition("_")
    return _TITLES.get(name) or (stem if stem and unit in _UNITS else name).replace("_", " ")


def measure_unit(name: str, goals: Sequence[Goal] = ()) -> str:
    """The unit that does not stand with the value itself."""
    if name.endswith("_bytes"):
        return ""  # each value has its own
    told = next((goal.unit for goal in goals if goal.measure == name), "")
    unit = told or (name.rpartition("_")[2] if "_" in name else "")
    return unit if (told or unit in _UNITS) and unit.lower() != measure_title(name).lower() else ""


def goal_words(goal: Goal) -> str:
    """What a goal is called, with its unit: `latency, ms`."""
    unit = measure_unit(goal.measure, [goal])
    return (goal.words or measure_title(goal.measure)) + (f", {unit}" if unit else "")


def measure_form(name: str, values: Iterable[float]) -> Callable[[float], str]:
    """One way of writing all values of a measure, so that they line up; the unit of bytes is part of it."""
    if name.endswith("_bytes"):
        return short_bytes
    sizes = [abs(value) for value in values if value]
    low, high = min(sizes, default=1.0), max(sizes, default=1.0)
    if high >= 1e5:
        return millions if high < 1e15 else "{:.3g}".format
    if high < 0.01:
        return "{:.3g}".format
    if high <= 1:
        return "{:.4f}".format
    if all(float(size).is_integer() for size in sizes):
        return "{:,.0f}".format
    digits = min(max(2 - math.floor(math.log10(low)), 0), 2)
    return f"{{:,.{digits}f}}".format


def standing_form(standing: Standing, name: str) -> Callable[[float], str]:
    """One way of writing a measure for all trials of a study."""
    return measure_form(name, [trial.measures[name] for trial in standing.trials if name in trial.measures])


def with_unit(standing: Standing, name: str, value: float) -> str:
    """A value as a sentence has it: `8.31 ms`."""
    return f"{standing_form(standing, name)(value)} {measure_unit(name, standing.goals)}".rstrip()


def value_words(value: Scalar) -> str:
    """A parameter's value as a recipe has it, numbers to three digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """41 s, 3.4 min, 1.2 h; – where it is not known."""
    if seconds is None:
        return ABSENT
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 0.995 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def count(number: int, thing: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def ended(standing: Standing) -> list[Trial]:
    """Trials that are over, whatever became of them; one that another goes on with is not."""
    return [trial for trial in standing.trials if trial.state in _DONE]


def counts(standing: Standing) -> str:
    """How many trials are in which state: `19 complete, 14 pruned, 2 running`."""
    found = Counter(trial.state for trial in standing.trials)
    shown = (*_DONE, "taken_over", "running", "waiting")
    return ", ".join(f"{found[state]:,} {state.replace('_', ' ')}" for state in shown if found[state])


def best_first(standing: Standing, front: Sequence[Trial]) -> list[Trial]:
    """Complete trials: the best or the front, the other candidates by the first goal, then those that break a
    constraint."""
    numbers = {trial.number for trial in front}
    first = standing.goals[0]
    sign = -1 if first.direction == "maximize" else 1
    rest = [trial for trial in standing.trials if trial.state == "complete" and trial.number not in numbers]
    rest.sort(key=lambda t: (t.feasible is False, sign * t.measures.get(first.measure, sign * math.inf), t.number))
    return [*front, *rest]


def standing_of(standing: Standing, trial: Trial, front: Iterable[Trial]) -> str:
    """A trial's state, or what it has come to: best, front, infeasible."""
    if trial.state != "complete":
        return trial.state.replace("_", " ")
    if trial.feasible is False:
        return "infeasible"
    if any(other.number == trial.number for other in front):
        return "best" if len(standing.goals) == 1 else "front"
    return "complete"
