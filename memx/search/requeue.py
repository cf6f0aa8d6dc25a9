"""Queueing a trial again that has lost its worker."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from memx.search.lineage import history

ENDED = "memx_ended"
"""User attribute of a trial that its worker did not finish: why it ended."""
INTERRUPTED = "interrupted"
"""A reason to end that says nothing of the trial: somebody stopped its worker."""


@dataclass(frozen=True)
class Requeue:
    """Queues a trial again with all that is known of it, as long as at most `retries` workers have died of it before.

    Being interrupted is no death. Optuna calls it for a trial whose heartbeats have ceased, as it calls its own
    `RetryHeartbeatStaleTrialCallback`, which counts interruptions too; what Optuna's tells of a trial's history is told
    alike.
    """

    retries: int

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        numbers = [*history(trial), trial.number]
        trials = study.get_trials(deepcopy=False)
        deaths = sum(trials[number].user_attrs.get(ENDED) != INTERRUPTED for number in numbers)
        if deaths > self.retries:
            return
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={name: value for name, value in trial.user_attrs.items() if name != ENDED},
                system_attrs={**trial.system_attrs, "failed_trial": numbers[0], "retry_history": numbers},
                intermediate_values=trial.intermediate_values,
            )
        )
