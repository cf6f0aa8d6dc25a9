"""Agreement of a measured figure with its reference over a cohort, after Bland and Altman."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """How prediction − truth is distributed.

    n     pairs
    mae   mean absolute error
    bias  mean of prediction − truth
    sd    standard deviation of prediction − truth (n − 1), None below 2 pairs
    low   lower limit of agreement, bias − 1.96 sd
    high  upper limit of agreement, bias + 1.96 sd
    r     Pearson's correlation, None below 3 pairs or where one side is constant
    """

    n: int
    mae: float
    bias: float
    sd: float | None
    low: float | None
    high: float | None
    r: float | None


def agreement(truth: Sequence[float], prediction: Sequence[float]) -> Agreement | None:
    """Agreement of paired figures (n,), in their own unit; None without a pair.

    Raises ValueError for two lengths. Source: Bland and Altman, Lancet 327:307–310, 1986.
    """
    if len(truth) != len(prediction):
        raise ValueError(f"truth has {len(truth)} figures and prediction {len(prediction)}; they are pairs")
    if not len(truth):
        return None
    first, second = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    error = second - first
    bias = float(error.mean())
    sd = float(error.std(ddof=1)) if len(error) > 1 else None
    low, high = (None, None) if sd is None else (bias - 1.96 * sd, bias + 1.96 * sd)
    varies = len(error) > 2 and np.ptp(first) > 0 and np.ptp(second) > 0
    r = float(np.corrcoef(first, second)[0, 1]) if varies else None
    return Agreement(len(error), float(np.abs(error).mean()), bias, sd, low, high, r)
