"""The intraclass correlation of several measurements of the same subjects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from memx.metrics.bootstrap import Interval

ICC_FORM = "ICC(2,1): two-way random effects, absolute agreement, single measurement"


@dataclass(frozen=True)
class IntraclassCorrelation:
    """ICC(2,1) and its interval; None where the measurements leave it open."""

    value: float
    interval: Interval | None
    level: float


def intraclass_correlation(measured: ArrayLike, *, level: float = 0.95) -> IntraclassCorrelation | None:
    """ICC(2,1), also called ICC(A,1): two-way random effects, absolute agreement, single measurement.

        ICC = (MSR − MSE) / (MSR + (k − 1) MSE + k (MSC − MSE) / n)

    measured  (n, k): n subjects, each measured in the same k ways. MSR, MSC and MSE are the mean squares between
              subjects, between ways and of the remainder, of the analysis of variance without replication.
    level     of the interval, by the F distribution with Satterthwaite's degrees of freedom; there is none where all
              ways agree exactly, and none where so little agrees (a figure far below 0) that no degree is left

    A constant difference between the ways lowers it, which Pearson's r does not see. None below two subjects and where
    the denominator is 0, as for figures that are all the same. Raises ValueError for other shapes and for figures that
    are not finite.
    Source: Shrout and Fleiss, Psychological Bulletin 86:420–428, 1979; interval: McGraw and Wong, Psychological Methods
    1:30–46, 1996, table 7.
    """
    table = np.asarray(measured, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(f"measured is {table.shape}; wants finite figures (n, k), n subjects in k ≥ 2 ways")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; wants a share between 0 and 1")
    n, k = table.shape
    if n < 2 or np.ptp(table) == 0:
        return None
    mean, subjects, ways = table.mean(), table.mean(1), table.mean(0)
    msr = k * float(((subjects - mean) ** 2).sum()) / (n - 1)
    msc = n * float(((ways - mean) ** 2).sum()) / (k - 1)
    mse = float(((table - subjects[:, None] - ways + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    whole = msr + (k - 1) * mse + k * (msc - mse) / n
    if whole <= 1e-12 * (msr + msc + mse):
        return None
    value = (msr - mse) / whole
    return IntraclassCorrelation(value, _interval(value, msr, msc, mse, n, k, level), level)


def _interval(value: float, msr: float, msc: float, mse: float, n: int, k: int, level: float) -> Interval | None:
    if math.isclose(value, 1):
        return None
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    spread = (a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * msc + b * mse) ** 2 / spread if spread > 0 else 0.0
    if freedom <= 0:
        return None
    tail = 1 - (1 - level) / 2
    below, above = float(stats.f.ppf(tail, n - 1, freedom)), float(stats.f.ppf(tail, freedom, n - 1))
    rest = k * msc + (k * n - k - n) * mse
    low = n * (msr - below * mse) / (below * rest + n * msr)
    high = n * (above * msr - mse) / (rest + n * above * msr)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
