"""A worker: one process that takes trials of a study, one after another, until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from memx.errors import InterruptedRunError, UserError
from memx.search.lineage import SURPLUS, counted, why_surplus
from memx.search.storage import beats
from memx.search.strategy import SeededSampler
from memx.search.study import REASON
from memx.search.survivors import Survivors
from memx.search.trial import TrialError, Trials

_LOOK = 2.0
"""Seconds between looks at a study in which all that is left is other workers' trials."""


@dataclass
class Worker:
    """Takes trials until there are as many as the search may have, or its time is over."""

    study: optuna.Study
    trials: Trials
    on_trial: Callable[[FrozenTrial], object] = lambda trial: None
    _raised: BaseException | None = field(default=None, init=False)
    """What ended the trial at hand."""

    def __post_init__(self) -> None:
        self._survivors = Survivors(self.study, self.trials.search.retries)
        self.study.sampler = SeededSampler(self.study, self.trials.search)

    def run(self) -> None:
        """Raises what ends a search: KeyboardInterrupt, InterruptedRunError, and errors that are no trial's own.

        The trial at hand is queued again then, and the next worker goes on from its checkpoint.
        """
        began = time.monotonic()
        search = self.trials.search
        while True:
            self._survivors.queue_again()
            trials = self.study.get_trials(deepcopy=False)
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if search.seconds is not None and time.monotonic() - began >= search.seconds:
                return
            if waiting or self.budget is None or counted(trials) < self.budget:
                self._one()
            elif self._others_are_at_work(trials):
                time.sleep(_LOOK)  # one of them may die and leave its trial
            else:
                return

    @property
    def budget(self) -> int | None:
        """Trials in all; a grid has no more than its combinations."""
        search = self.trials.search
        if search.sampler != "grid":
            return search.trials
        return min(self.trials.space.grid_size(), search.trials or 2**62)

    def _one(self) -> None:
        self.trials.at_hand = self._raised = None
        try:
            self.study.optimize(self._try, n_trials=1, catch=(TrialError,), callbacks=[self._finished])
        except (KeyboardInterrupt, UserError):
            self._queue_again()  # the trial that this process has just failed was not at fault
            raise
        except (ValueError, UpdateFinishedTrialError) as error:
            if error is self._raised and not isinstance(error, UpdateFinishedTrialError):
                raise
            # Optuna takes no result: the trial gave no sign of life for too long, and is another worker's now.
            if self.trials.at_hand is None:
                raise
            self.trials.leave(self.trials.at_hand)
            if isinstance(self._raised, (KeyboardInterrupt, InterruptedRunError)):
                raise self._raised from None

    def _try(self, trial: optuna.Trial) -> float | Sequence[float]:
        try:
            self.trials.at_hand = trial.number
            values = self.trials.draw(trial)
            self._refuse_surplus(trial)
            return self.trials.measure(trial, values)
        except (KeyboardInterrupt, UserError, TrialError, OptunaError) as error:
            self._raised = error
            raise
        except Exception as error:  # a defect: the next worker would only meet it again
            self._raised = error
            trial.set_user_attr(REASON, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
            raise

    def _refuse_surplus(self, trial: optuna.Trial) -> None:
        trials = self.study.get_trials(deepcopy=False)
        if reason := why_surplus(trials, trials[trial.number], self.budget):
            trial.set_user_attr(SURPLUS, reason)
            raise TrialError(reason)

    def _finished(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.on_trial(trial)

    def _queue_again(self) -> None:
        last = self.trials.at_hand
        if last is not None and self.study.get_trials(deepcopy=False)[last].state == TrialState.FAIL:
            self._survivors.requeue(last)

    def _others_are_at_work(self, trials: list[FrozenTrial]) -> bool:
        return beats(self.study) is not None and any(trial.state == TrialState.RUNNING for trial in trials)
