"""What is shown of a study: its question and one row a trial, plain data whatever the storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Direction = Literal["maximize", "minimize"]
State = Literal["waiting", "running", "complete", "pruned", "refused", "failed", "taken_over"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Goal:
    """An objective: a measure and where it should go. `unit` and `words` are for the reader."""

    measure: str
    direction: Direction
    unit: str = ""
    words: str = ""


@dataclass(frozen=True)
class Trial:
    """One trial.

    number      as Optuna counts them, from 0
    state       waiting, running, complete, pruned (stopped early by the pruner), refused (a constraint did not hold,
                so it was not trained), failed, taken_over (its worker died; a later trial went on with its run)
    parameters  what was drawn, by name; a parameter that another one's choice left out is not in it
    measures    everything measured by name (`dice`, `latency_ms`, `macs`, `parameters`, `state_bytes`, …)
    curve       (iteration, validation Dice) of every validation so far
    seconds     from its start to its end, or to now; None before it began
    feasible    whether all constraints hold; None while it is not known
    run         its run folder
    reason      why it failed, was refused or was taken over; empty otherwise
    """

    number: int
    state: State
    parameters: dict[str, Scalar]
    measures: dict[str, float]
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float | None = None
    feasible: bool | None = None
    run: Path | None = None
    reason: str = ""


@dataclass(frozen=True)
class Standing:
    """A study as it stands: what was asked, and its trials by number."""

    name: str
    goals: tuple[Goal, ...]
    constraints: tuple[str, ...]
    trials: tuple[Trial, ...]
    budget: int | None = None
    """Trials that it may have; None: time alone limits it."""

    def candidates(self) -> list[Trial]:
        """Complete trials that keep all constraints."""
        return [trial for trial in self.trials if trial.state == "complete" and trial.feasible is not False]

    def best(self) -> list[Trial]:
        """The best trial, or with several goals the Pareto front, ordered by the first goal, the best first.

        A trial is in the front when no other is at least as good in every goal and better in one; of equal trials the
        first stands for all.
        """
        found: dict[tuple[float, ...], Trial] = {}
        for trial in self.candidates():
            found.setdefault(self._costs(trial), trial)
        front = [
            (mine, trial)
            for mine, trial in found.items()
            if not any(all(o <= m for o, m in zip(theirs, mine, strict=True)) for theirs in found if theirs != mine)
        ]
        return [trial for _, trial in sorted(front, key=lambda item: (item[0], item[1].number))]

    def _costs(self, trial: Trial) -> tuple[float, ...]:
        """The goals' values, so that less is better."""
        return tuple((-1 if g.direction == "maximize" else 1) * trial.measures[g.measure] for g in self.goals)
