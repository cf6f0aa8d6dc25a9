"""Which parameters matter: PED-ANOVA of an Optuna study, goal by goal."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memx.search.rows import Goal

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FEWEST = 20
"""Complete trials below which no importance is given."""
_BEST = 5
"""The least number of best trials that are told from the rest."""


def importances(study: Study, goals: Sequence[Goal]) -> dict[str, dict[str, float]]:
    """Each goal's measure → parameter → its share, the largest first; shares of a goal sum to one.

    `goals` are in the order of the study's values. A share says how far the distribution of the parameter among the
    best trials, `best_share` of all that are complete, is from that among all: by conditional PED-ANOVA, which takes a
    parameter that only some choices have in those trials alone, weighted with how often the best trials have it. A goal
    is left out where fewer than `FEWEST` trials are complete, fewer than two parameters were drawn, or nothing tells
    the best from the rest.

    Source: Watanabe, Bansal, Hutter: PED-ANOVA, IJCAI 2023, arXiv:2304.10255; conditional parameters:
    arXiv:2601.20800; as Optuna's `PedAnovaImportanceEvaluator` does it.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best_share(len(complete)))
    found: dict[str, dict[str, float]] = {}
    for place, goal in enumerate(goals):
        sign = -1.0 if goal.direction == "maximize" else 1.0

        def cost(trial: FrozenTrial, place: int = place, sign: float = sign) -> float:
            return sign * trial.values[place]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that low costs are wanted, and that a choice is rare
            shares = get_param_importances(study, evaluator=evaluator, target=cost)
        if len(set(shares.values())) > 1 and all(map(math.isfinite, shares.values())):
            found[goal.measure] = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    return found


def best_share(complete: int) -> float:
    """Which part of the complete trials counts as the best: a tenth, more where that is fewer than five."""
    return min(max(0.1, _BEST / complete), 0.5)
