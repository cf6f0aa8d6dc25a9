"""Intervals over patients: frames of one patient are not independent, so patients are what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


def patient_bootstrap(
    values: Sequence[float], patients: Sequence[str], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """Percentile interval of the mean of `values` (n,) when the patients that they come from are drawn again.

        mean*_b = Σ_p w_bp Σ_{i of p} x_i / Σ_p w_bp n_p,   w_b ~ Multinomial(P, 1/P)

    Every draw takes as many patients as there are, with all their values. None below two patients, since one patient
    says nothing about the next, and for `draws` of 0. Raises ValueError for two lengths and for fewer draws than 0.
    Seeded: the same input gives the same interval, and groups of as many patients share their draws.
    """
    if len(values) != len(patients):
        raise ValueError(f"{len(values)} values and {len(patients)} patients; every value has its patient")
    if draws < 0:
        raise ValueError(f"draws is {draws}; wants 0 (no interval) or more")
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) < 2 or draws == 0:
        return None
    sums = np.bincount(owner, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(owner)
    weights = _weights(len(names), draws, seed)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=2)
def _weights(patients: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each patient is in each draw (draws, patients)."""
    counts = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=draws)
    weights = counts.astype(np.float64)
    weights.flags.writeable = False
    return weights
