"""Intervals over what could have been otherwise: the seed of a training, and the patients that it is scored on.

Every trained network is scored on the same patients, so that seeds and patients are crossed, and both are drawn:

    x_sp = μ + a_s + b_p + e_sp
    x̄* = Σ_s Σ_p w_s u_p x′_sp,    S w ~ Multinomial(S, 1/S),    P u ~ Multinomial(P, 1/P)

One draw of patients serves all drawn seeds, since a hard patient is hard for all of them. Drawing n things varies less
than they do, by (n − 1) / n, so x′ has the means of seeds and of patients spread about μ̂ by √(n / (n − 1)).

With few seeds this is still too narrow where seeds differ more than patients do: on drawn data 95% intervals of three
such seeds covered 83%, of five 88%, of ten 93%; where patients differ more, 92% and above (`tests/reproduce`).

Source: crossed bootstrap, Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 1:386–411, 2007; spreading the units before
drawing them, Rao and Wu, Resampling inference with complex survey data, JASA 83:231–241, 1988.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

DRAWS, LEVEL = 4000, 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    low, high  None below two patients, since one patient says nothing about the next
    seeds      how many; with one, the interval is over patients alone and is that of this trained network
    patients   how many
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    patients: int

    @property
    def sign(self) -> int:
        """1 or −1 where the interval lies above or below 0; else 0, and 0 without an interval."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def crossed(
    runs: Mapping[int, Mapping[str, float]], reference: Mapping[int, Mapping[str, float]] | None = None
) -> Float[np.ndarray, "s p"] | None:
    """Figures of runs, seed → patient → figure, as a table of seeds and patients; less those of `reference`, if given.

    Only seeds that both have and patients that all of these have are in it; None where there are none.
    """
    other = runs if reference is None else reference
    seeds = sorted(set(runs) & set(other))
    if not seeds:
        return None
    patients = sorted(set.intersection(*(set(side[seed]) for side in (runs, other) for seed in seeds)))
    if not patients:
        return None
    values = np.array([[runs[seed][p] for p in patients] for seed in seeds], dtype=np.float64)
    if reference is not None:
        values -= np.array([[reference[seed][p] for p in patients] for seed in seeds], dtype=np.float64)
    return values


def mean(values: Float[np.ndarray, "s p"], *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0) -> Estimate:
    """The mean over seeds and patients. Of paired differences, the mean difference, paired by both.

    Raises ValueError for a table that is empty or not finite. The same table gives the same interval.
    """
    values = _checked(values)
    seeds, patients = values.shape
    centre = float(values.mean())
    spread = _spread(values) - centre
    rng = np.random.default_rng(seed)
    w = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    u = rng.multinomial(patients, np.full(patients, 1 / patients), size=draws) / patients
    low, high = _ends(centre + np.einsum("ds,sp,dp->d", w, spread, u), patients, level)
    return Estimate(centre, low, high, seeds, patients)


Statistic = Callable[[Float[np.ndarray, "d p"], Float[np.ndarray, "d p"]], Float[np.ndarray, " d"]]
"""Of each row: of the patients' true figures and one network's."""


def correlation(truth: Float[np.ndarray, "d p"], prediction: Float[np.ndarray, "d p"]) -> Float[np.ndarray, " d"]:
    """Pearson's r, row by row; NaN where one side is constant."""
    x = truth - truth.mean(1, keepdims=True)
    y = prediction - prediction.mean(1, keepdims=True)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)


def agreement(
    statistic: Statistic,
    truth: Float[np.ndarray, " p"],
    prediction: Float[np.ndarray, "s p"],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate | None:
    """A statistic of true figures and those of each network, averaged over the networks; None where it is not defined.

    Seeds and patients are drawn as for `mean`, without the spreading, which such a statistic does not have. Draws in
    which it is not defined, as r of one patient alone, are left out.
    """
    prediction = _checked(prediction)
    seeds, patients = prediction.shape
    if truth.shape != (patients,):
        raise ValueError(f"truth is {truth.shape} and prediction {prediction.shape}; they are of the same patients")
    found = statistic(np.broadcast_to(truth, prediction.shape), prediction)
    if not np.isfinite(found).all():
        return None
    rng = np.random.default_rng(seed)
    w = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    drawn: Int[np.ndarray, "d p"] = rng.integers(patients, size=(draws, patients))
    each = np.stack([statistic(truth[drawn], row[drawn]) for row in prediction], axis=1)
    values = (w * each).sum(1)
    low, high = _ends(values[np.isfinite(values)], patients, level)
    return Estimate(float(found.mean()), low, high, seeds, patients)


def seeds_alike(values: Float[np.ndarray, "s p"]) -> tuple[int, int]:
    """How many seeds have a mean of the overall mean's sign, and how many there are."""
    means = values.mean(1)
    return int((np.sign(means) == np.sign(values.mean())).sum()), len(means)


def _checked(values: Float[np.ndarray, "s p"]) -> Float[np.ndarray, "s p"]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"figures are a table of seeds and patients, not of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("figures of seeds and patients must be finite")
    return values


def _spread(values: Float[np.ndarray, "s p"]) -> Float[np.ndarray, "s p"]:
    """x′: the means of the seeds and of the patients moved away from the mean, so that draws vary as these do."""
    centre, spread = values.mean(), values
    for axis in (0, 1):
        n = values.shape[axis]
        if n > 1:
            main = values.mean(1 - axis, keepdims=True) - centre
            spread = spread + main * (np.sqrt(n / (n - 1)) - 1)
    return spread


def _ends(values: Float[np.ndarray, " d"], patients: int, level: float) -> tuple[float | None, float | None]:
    if patients < 2 or not len(values):
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
