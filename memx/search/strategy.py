"""Optuna's sampler and pruner as a recipe's `search:` names them, and drawing a space's values from a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from memx.search.experimental import accepted
from memx.search.lineage import rank
from memx.search.section import Search
from memx.search.space import Choice, Node, Scalar, Space


class SeededSampler(BaseSampler):
    """A study's sampler, made anew for every trial with a seed from `search.seed` and the trial's rank.

    What is proposed hangs on the seed and on the trials before it alone: a search that was stopped goes on as if it had
    not been, and workers that join need no seeds of their own to differ. Where a worker died, the next trial may be
    proposed before the dead one is found and ends.

    on_trial  called with the number of a trial that begins, before anything is proposed for it
    """

    def __init__(self, study: optuna.Study, search: Search, on_trial: Callable[[int], object] = lambda number: None):
        self._study, self._search, self._on_trial = study, search, on_trial
        self._of_trial: BaseSampler = optuna.samplers.RandomSampler()  # until a trial begins

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._on_trial(trial.number)
        # The argument may be a part of the study, as a pruner sees it.
        place = rank(self._study.get_trials(deepcopy=False), trial)
        self._of_trial = make_sampler(self._search, place)
        self._of_trial.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of_trial.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of_trial.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of_trial.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._of_trial.after_trial(study, trial, state, values)


class FixedSampler(BaseSampler):
    """Proposes one combination."""

    def __init__(self, combination: Mapping[str, Scalar]):
        self._combination = combination

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._combination[param_name]


def grid_order(search: Search) -> list[dict[str, Scalar]]:
    """Every combination once: those of `first`, then the others in an order that hangs on the seed.

    A trial takes the one at its rank, so that no worker need know what the others take.
    """
    grid = Space.parse(search.space).grid()
    rest = [grid[place] for place in np.random.default_rng(search.seed).permutation(len(grid))]
    order = []
    for combination in search.first:
        fits = [one for one in rest if combination.items() <= one.items()]
        if fits:  # else an earlier one was the same
            order.append(fits[0])
            rest.remove(fits[0])
    return order + rest


def make_sampler(search: Search, place: int) -> BaseSampler:
    """The sampler of the trial that is `place`-th to be begun, from 0."""
    seed = int(np.random.SeedSequence([search.seed, place]).generate_state(1)[0])
    startup = search.startup
    with accepted():
        match search.sampler:
            case "tpe":
                return optuna.samplers.TPESampler(
                    seed=seed,
                    n_startup_trials=startup,
                    multivariate=True,
                    group=True,
                )
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=startup)
            case "gp":
                return optuna.samplers.GPSampler(
                    seed=seed,
                    n_startup_trials=startup,
                    warn_independent_sampling=False,
                )
            case "grid":
                order = grid_order(search)
                return FixedSampler(order[place % len(order)])  # one too many is surplus, and is not run
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)


def at_random(search: Search) -> str:
    """What is to be said of parameters that the sampler never learns about, or nothing."""
    conditional = Space.parse(search.space).conditional()
    if search.sampler not in ("nsga2", "gp") or not conditional:
        return ""
    return (
        f"sampler {search.sampler} learns only about parameters that every trial has; always drawn at random: "
        f"{', '.join(conditional)}. tpe learns about these, too"
    )


def make_pruner(search: Search, iterations: int) -> BasePruner:
    """The pruner; it sees a trial's validation Dice by training step, of which there are `iterations`."""
    startup, after = search.startup, search.prune_after
    match search.pruner:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=after)
        case "percentile":
            return optuna.pruners.PercentilePruner(25.0, n_startup_trials=startup, n_warmup_steps=after)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(after, 1))
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=max(after, 1), max_resource=iterations)
        case "none":
            return optuna.pruners.NopPruner()


def draw(trial: optuna.Trial, space: Space) -> dict[str, object]:
    """Path → plain data, as the study's sampler proposes."""

    def decide(node: Node) -> Scalar:
        if isinstance(node, Choice):
            return trial.suggest_categorical(node.name, node.labels())
        if node.whole:
            return trial.suggest_int(node.name, int(node.low), int(node.high), step=int(node.step or 1), log=node.log)
        return trial.suggest_float(node.name, node.low, node.high, step=node.step, log=node.log)

    return space.resolve(decide)
