"""Agreement of a measured figure with its reference over a cohort."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from memx.metrics.bootstrap import Interval
from memx.metrics.icc import intraclass_correlation


@dataclass(frozen=True)
class Agreement:
    """How prediction − truth is distributed, and how the two correlate. Intervals are of `level`.

    n     pairs
    mae   mean absolute error
    bias  mean of prediction − truth; interval by Student's t
    sd    standard deviation of prediction − truth (n − 1), None below 2 pairs
    low   lower limit of agreement, bias − 1.96 sd; interval by the standard error sd √(1/n + 1.96² / (2 (n − 1)))
    high  upper limit of agreement, bias + 1.96 sd; likewise
    r     Pearson's correlation, None below 3 pairs or where one side is constant; interval by Fisher's z, from 4 pairs
    icc   ICC(2,1), two-way random effects, absolute agreement, single measurement (`intraclass_correlation`)
    """

    n: int
    mae: float
    bias: float
    sd: float | None
    low: float | None
    high: float | None
    r: float | None
    icc: float | None = None
    bias_interval: Interval | None = None
    low_interval: Interval | None = None
    high_interval: Interval | None = None
    r_interval: Interval | None = None
    icc_interval: Interval | None = None
    level: float = 0.95

    def words(self, unit: str = "") -> str:
        """All of it in one line, for figures in `unit`; intervals in brackets."""
        ending = f" {unit}" if unit else ""
        parts = [f"n = {self.n}", f"mean absolute error {self.mae:.1f}{ending}"]
        bias = f"bias {self.bias:+.1f}{_brackets(self.bias_interval, '+.1f')}"
        parts.append(bias if self.sd is None else f"{bias}, SD {self.sd:.1f}{ending}")
        if self.low is not None and self.high is not None:
            parts.append(f"limits of agreement {self.low:+.1f} to {self.high:+.1f}{ending}")
        if self.r is not None:
            parts.append(f"Pearson r {self.r:.3f}{_brackets(self.r_interval, '.3f')}")
        if self.icc is not None:
            parts.append(f"ICC(2,1) {self.icc:.3f}{_brackets(self.icc_interval, '.3f')}")
        return re.sub(r"-(?=\d)", "−", ", ".join(parts))


def agreement(truth: Sequence[float], prediction: Sequence[float], *, level: float = 0.95) -> Agreement | None:
    """Agreement of paired figures (n,), in their own unit; None without a pair.

    Raises ValueError for two lengths and for figures that are not finite. Source: Bland and Altman, Lancet 327:307–310,
    1986; interval of the limits: Bland and Altman, Statistical Methods in Medical Research 8:135–160, 1999; of r:
    Fisher, Metron 1:3–32, 1921; ICC: Shrout and Fleiss, Psychological Bulletin 86:420–428, 1979.
    """
    if len(truth) != len(prediction):
        raise ValueError(f"truth has {len(truth)} figures and prediction {len(prediction)}; they are pairs")
    if not len(truth):
        return None
    first, second = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("truth and prediction hold figures that are not finite; leave them out and count them")
    n, error = len(first), second - first
    mae, bias = float(np.abs(error).mean()), float(error.mean())
    if n == 1:
        return Agreement(n, mae, bias, None, None, None, None, level=level)
    sd = float(error.std(ddof=1))
    low, high = bias - 1.96 * sd, bias + 1.96 * sd
    t = float(stats.t.ppf((1 + level) / 2, n - 1))
    at_bias, at_limit = t * sd / math.sqrt(n), t * sd * math.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    varies = n > 2 and np.ptp(first) > 0 and np.ptp(second) > 0
    r = float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1)) if varies else None
    icc = intraclass_correlation(np.stack([first, second], axis=1), level=level)
    return Agreement(
        n,
        mae,
        bias,
        sd,
        low,
        high,
        r,
        icc=None if icc is None else icc.value,
        bias_interval=(bias - at_bias, bias + at_bias),
        low_interval=(low - at_limit, low + at_limit),
        high_interval=(high - at_limit, high + at_limit),
        r_interval=_fisher(r, n, level),
        icc_interval=None if icc is None else icc.interval,
        level=level,
    )


def _fisher(r: float | None, n: int, level: float) -> Interval | None:
    """tanh(artanh r ± z / √(n − 3)); None below 4 pairs and for a correlation of exactly ±1."""
    if r is None or n < 4 or abs(r) >= 1:
        return None
    half = float(stats.norm.ppf((1 + level) / 2)) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _brackets(interval: Interval | None, form: str) -> str:
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
