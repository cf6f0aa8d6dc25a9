"""Intervals over what could have been otherwise: the seed of a training, and the patients that it is scored on.

Every trained network is scored on the same patients, so that seeds and patients are crossed:

    x_sp = μ + a_s + b_p + e_sp
    MS_s = P Σ_s (x̄_s − x̄)² / (S − 1),   MS_p = S Σ_p (x̄_p − x̄)² / (P − 1),   MS_e that of what is left
    v = (MS_s + MS_p − MS_e) / (S P),    ν = (MS_s + MS_p − MS_e)² / (MS_s²/(S−1) + MS_p²/(P−1) + MS_e²/((S−1)(P−1)))
    interval: x̄ ± t_ν √v

v is not let fall below that of seeds alone, MS_s / (S P) with S − 1 degrees of freedom, or of patients alone. A few
seeds leave few degrees of freedom, and t says what that costs: a bootstrap, which draws from the few, is too narrow
there. On drawn data 95% intervals of three to ten seeds hold the true mean in 92% of tables and more, of two seeds in
88% (`tests/reproduce`).

Source: two-way random effects, Searle, Casella and McCulloch, Variance Components, 1992; degrees of freedom,
Satterthwaite, Biometrics Bulletin 2:110–114, 1946.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import bdtr, stdtrit

DRAWS, LEVEL = 4000, 0.95
_TIE = 1e-9
"""Relative difference below which mean squares are the same, whatever rounding says."""


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


def mean(values: Float[np.ndarray, "s p"], *, level: float = LEVEL) -> Estimate:
    """The mean over seeds and patients. Of paired differences, the mean difference, paired by both.

    Raises ValueError for a table that is empty or not finite.
    """
    values = _checked(values)
    seeds, patients = values.shape
    centre = float(values.mean())
    if patients < 2:
        return Estimate(centre, None, None, seeds, patients)
    variance, freedom = _variance_of_mean(values)
    reach = float(stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)) if variance > 0 else 0.0
    return Estimate(centre, centre - reach, centre + reach, seeds, patients)


def _variance_of_mean(values: Float[np.ndarray, "s p"]) -> tuple[float, float]:
    """v and its degrees of freedom."""
    seeds, patients = values.shape
    if seeds == 1:
        return float(values.var(ddof=1) / patients), patients - 1
    by_seed, by_patient = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    left = values - by_seed - by_patient + values.mean()
    free = np.array([seeds - 1, patients - 1, (seeds - 1) * (patients - 1)])
    squares = np.array([patients * by_seed.var(ddof=1), seeds * by_patient.var(ddof=1), (left**2).sum() / free[2]])
    both = squares[0] + squares[1] - squares[2]
    larger = int(squares[1] > squares[0] * (1 + _TIE))
    if both <= squares[larger] * (1 + _TIE):
        return float(squares[larger] / values.size), float(free[larger])
    return float(both / values.size), float(both**2 / (squares**2 / free).sum())


def pearson(truth: Float[np.ndarray, "d p"], prediction: Float[np.ndarray, "d p"]) -> Float[np.ndarray, " d"]:
    """Pearson's r, row by row; NaN where one side is constant."""
    x = truth - truth.mean(1, keepdims=True)
    y = prediction - prediction.mean(1, keepdims=True)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)


def correlation(
    truth: Float[np.ndarray, " p"],
    prediction: Float[np.ndarray, "s p"],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate | None:
    """Pearson's r of true figures and those of each network, averaged over the networks; None where one is constant.

    A bootstrap: seeds and patients are both drawn anew, one draw of patients for all drawn seeds (Owen, The pigeonhole
    bootstrap, Ann. Appl. Stat. 1:386–411, 2007), which is too narrow for a few seeds. Draws in which r is not
    defined, as of one patient alone, are left out.
    """
    prediction = _checked(prediction)
    seeds, patients = prediction.shape
    if truth.shape != (patients,):
        raise ValueError(f"truth is {truth.shape} and prediction {prediction.shape}; they are of the same patients")
    found = pearson(np.broadcast_to(truth, prediction.shape), prediction)
    if not np.isfinite(found).all():
        return None
    rng = np.random.default_rng(seed)
    w = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    drawn: Int[np.ndarray, "d p"] = rng.integers(patients, size=(draws, patients))
    each = np.stack([pearson(truth[drawn], row[drawn]) for row in prediction], axis=1)
    values = (w * each).sum(1)
    low, high = _ends(values[np.isfinite(values)], patients, level)
    return Estimate(float(found.mean()), low, high, seeds, patients)


def median(values: Float[np.ndarray, " n"], *, level: float = LEVEL) -> tuple[float, float | None, float | None]:
    """The median with an interval of at least `level` from order statistics, whatever the distribution.

    Of n values in order the interval runs from the k-th to the k-th last, k the largest with
    P(Binomial(n, ½) < k) ≤ (1 − level) / 2; None where n is too small (below 6 at 95%).
    Source: Conover, Practical Nonparametric Statistics, 1999, §3.2.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.ndim != 1 or not len(ordered) or not np.isfinite(ordered).all():
        raise ValueError("the median is of finite values in one row, and of one at least")
    below = bdtr(np.arange(len(ordered), dtype=np.float64), len(ordered), 0.5)
    k = int((below <= (1 - level) / 2).sum())
    centre = float(np.median(ordered))
    return (centre, float(ordered[k - 1]), float(ordered[-k])) if k else (centre, None, None)


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


def _ends(values: Float[np.ndarray, " d"], patients: int, level: float) -> tuple[float | None, float | None]:
    if patients < 2 or not len(values):
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
