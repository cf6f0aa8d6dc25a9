"""A worker: one process that takes trials of a study, one after another, until the budget is spent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import OptunaError, TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from memx.engine.interruption import noting
from memx.errors import InterruptedRunError, UserError, first_line
from memx.search.lineage import SURPLUS, counted, why_surplus
from memx.search.requeue import ENDED, INTERRUPTED
from memx.search.storage import LOST, beats
from memx.search.strategy import SeededSampler
from memx.search.study import REASON
from memx.search.survivors import Survivors, lost_its_worker
from memx.search.trial import TrialError, Trials

log = logging.getLogger(__name__)

_LOOK = 2.0
"""Seconds between looks at a study in which all that is left is other workers' trials."""
DEFECTS = 3
"""Trials in a row that a defect ends, after which it is not the trials'."""


@dataclass
class Worker:
    """Takes trials until there are as many as the search may have, or its time is over."""

    study: optuna.Study
    trials: Trials
    on_trial: Callable[[FrozenTrial], object] = lambda trial: None
    _at_hand: int | None = field(default=None, init=False)
    """Number of the trial that has begun and has not been told as ended."""
    _raised: BaseException | None = field(default=None, init=False)
    """What ended the trial at hand."""
    _defects: int = field(default=0, init=False)
    """Trials in a row that a defect has ended."""

    def __post_init__(self) -> None:
        self._survivors = Survivors(self.study, self.trials.search.retries)
        self.study.sampler = SeededSampler(self.study, self.trials.search, on_trial=self._begun)

    def run(self) -> None:
        """Raises what ends a worker: KeyboardInterrupt; UserError and OSError of the machine, the data or the storage;
        what a storage raises that has gone away (`storage.LOST`); and a defect that ends trial after trial.

        The trial at hand is queued again, by this worker or by the next, and goes on from its checkpoint.
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
        self._at_hand = self._raised = None
        try:
            self.study.optimize(self._try, n_trials=1, catch=(TrialError,), callbacks=[self._finished])
        except BaseException as raised:
            error = self._met(raised)
            if isinstance(error, (KeyboardInterrupt, UserError, OSError)):
                with noting():  # a second signal is not to break into it
                    self._queue_again()
            elif self._is_taken(error):
                return self._leave()
            if error is raised:
                raise
            raise error from error.__cause__

    def _met(self, raised: BaseException) -> BaseException:
        """What Optuna met while it told how a trial ended: its own assertions come after it, and hide it."""
        hidden = isinstance(raised, (AssertionError, UnboundLocalError)) and raised is not self._raised
        return (raised.__context__ if hidden else None) or raised

    def _is_taken(self, error: BaseException) -> bool:
        """Whether the error says that the trial at hand is another worker's now: it gave no sign of life for too long,
        and was ended by that one."""
        own = error is self._raised and not isinstance(error, UpdateFinishedTrialError)
        if own or isinstance(error, LOST) or self._at_hand is None:
            return False
        return self._trial(self._at_hand).state == TrialState.FAIL

    def _leave(self) -> None:
        """Clear away what another has gone on with elsewhere; raises what would have stopped this worker anyway."""
        assert self._at_hand is not None
        self.trials.leave(self._at_hand)
        if isinstance(self._raised, (KeyboardInterrupt, InterruptedRunError)):
            raise self._raised from None

    def _try(self, trial: optuna.Trial) -> float | Sequence[float]:
        try:
            values = self.trials.draw(trial)
            self._refuse_surplus(trial)
            result = self.trials.measure(trial, values)
        except (KeyboardInterrupt, InterruptedRunError) as stop:
            self._raised = stop
            trial.set_user_attr(ENDED, INTERRUPTED)
            raise
        except (TrialError, OptunaError, *LOST) as error:
            self._raised = error
            if isinstance(error, (TrialError, TrialPruned)):
                self._defects = 0
            raise
        except (UserError, OSError) as error:  # of the machine or the data: the next worker may do better
            self._raised = error
            trial.set_user_attr(ENDED, first_line(error))
            raise
        except Exception as error:
            self._raised = error
            self._report_defect(trial, error)
            raise TrialError(str(error)) from error
        self._defects = 0
        return result

    def _report_defect(self, trial: optuna.Trial, error: Exception) -> None:
        """Fail the trial, with its traceback in the log.

        Raises the error when there have been several in a row: then it is hardly this trial's, and the next worker may
        try it again.
        """
        reason = f"{type(error).__name__}: {first_line(error)}"
        self._defects += 1
        if self._defects >= DEFECTS:
            trial.set_user_attr(ENDED, reason)
            log.error("trial %d failed, as the %d before it did: the worker ends", trial.number, DEFECTS - 1)
            raise error
        trial.set_user_attr(REASON, reason)
        log.exception("trial %d failed, and the search goes on", trial.number)

    def _refuse_surplus(self, trial: optuna.Trial) -> None:
        trials = self.study.get_trials(deepcopy=False)
        if reason := why_surplus(trials, trials[trial.number], self.budget):
            trial.set_user_attr(SURPLUS, reason)
            raise TrialError(reason)

    def _begun(self, number: int) -> None:
        self._at_hand = number

    def _finished(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._at_hand = None
        self.on_trial(trial)

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _queue_again(self) -> None:
        """Give the trial at hand back, unless it has ended for a reason of its own."""
        if self._at_hand is None:
            return
        trial = self._trial(self._at_hand)
        if trial.state == TrialState.RUNNING:  # the signal came while Optuna proposed, or was about to tell
            storage = self.study._storage
            storage.set_trial_user_attr(trial._trial_id, ENDED, INTERRUPTED)
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        if lost_its_worker(self._trial(self._at_hand)):
            self._survivors.requeue(self._at_hand)

    def _others_are_at_work(self, trials: list[FrozenTrial]) -> bool:
        return beats(self.study) is not None and any(trial.state == TrialState.RUNNING for trial in trials)
