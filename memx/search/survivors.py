"""Trials whose worker died are queued again, whenever it died."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from memx.search.experimental import accepted
from memx.search.lineage import history, is_surplus
from memx.search.requeue import Requeue
from memx.search.storage import GRACE, beats
from memx.search.study import REASON, RUN, run_name


@dataclass
class Survivors:
    """Looks for trials that outlived their worker.

    Optuna's heartbeats find all but two kinds: a worker that died between taking a trial and its first sign of life,
    and one that died between marking another's trial as failed and queueing it again. Several workers may queue the
    same trial: the first in the queue goes on with it, and the others are surplus (`lineage`).
    """

    study: optuna.Study
    retries: int
    _seen: dict[int, float] = field(default_factory=dict)
    """Number of a trial that has not begun → when that was first seen, by this process's clock."""

    def queue_again(self) -> None:
        """Queue every trial again that has lost its worker, unless too many have died of it."""
        with accepted():
            fail_stale_trials(self.study)
        self._fail_unbegun()
        trials = self.study.get_trials(deepcopy=False)
        followed = {before for trial in trials for before in history(trial)}
        for trial in trials:
            if lost_its_worker(trial) and trial.number not in followed:
                self.requeue(trial.number)

    def requeue(self, number: int) -> None:
        """Queue a trial again, unless too many workers have died of it."""
        Requeue(self.retries)(self.study, self.study.trials[number])

    def _fail_unbegun(self) -> None:
        every = beats(self.study)
        if every is None:
            return
        now = time.monotonic()
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        unbegun = [trial.number for trial in running if trial.user_attrs.get(RUN) != run_name(trial.number)]
        self._seen = {number: self._seen.get(number, now) for number in unbegun}
        for number, since in self._seen.items():
            if now - since > GRACE * every:
                trial = self.study.get_trials(deepcopy=False)[number]
                with suppress(UpdateFinishedTrialError):  # it has ended meanwhile
                    self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def lost_its_worker(trial: FrozenTrial) -> bool:
    """Whether it failed for no reason of its own."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs and not is_surplus(trial)
