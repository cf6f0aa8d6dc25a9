"""Which trials are one: a trial that is taken up again is a new one to Optuna, and the same one to a search.

Workers join a study without knowing of each other, so two of them may begin the last trial of a budget, or take up the
same dead worker's trial. Optuna gives every trial a number of its own, and that decides: the one with the higher number
is surplus, is not run, and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

SURPLUS = "memx_surplus"
"""User attribute of a trial that was begun once too often: why."""


def history(trial: FrozenTrial) -> list[int]:
    """Numbers of the trials that this one goes on with, the first first."""
    return list(trial.system_attrs.get("retry_history", []))


def origin(trial: FrozenTrial) -> int:
    """Number of the trial that was begun first of those that are one with this."""
    return next(iter(history(trial)), trial.number)


def is_surplus(trial: FrozenTrial) -> bool:
    return SURPLUS in trial.user_attrs


def rank(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> int:
    """How many trials were begun before this one, each counted once."""
    return sum(other.number < origin(trial) for other in _begun(trials))


def counted(trials: Sequence[FrozenTrial]) -> int:
    """Trials that count against the budget: what was taken up again counts once."""
    return len(_begun(trials))


def taken_over(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Number of a trial that was taken up again → the trial that goes on with it, the last one where there are more."""
    return {before: trial.number for trial in trials if not is_surplus(trial) for before in history(trial)}


def why_surplus(trials: Sequence[FrozenTrial], trial: FrozenTrial, budget: int | None) -> str:
    """Why this trial is not to be run; empty where it is."""
    if is_surplus(trial):
        return trial.user_attrs[SURPLUS]
    if budget is not None and rank(trials, trial) >= budget:
        return f"another worker began the last of {budget} trials at the same moment"
    last = history(trial)[-1:]
    twins = [o.number for o in trials if last and o.number < trial.number and history(o)[-1:] == last]
    return f"trial {twins[0]} goes on with trial {last[0]} already" if twins else ""


def _begun(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if not history(trial) and not is_surplus(trial)]
