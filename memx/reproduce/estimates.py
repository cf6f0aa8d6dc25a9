"""How figures of ours are written."""

from __future__ import annotations

from memx.reproduce.statistics import Estimate
from memx.zoo.metrics import COLUMNS
from memx.zoo.system import Metric


def estimate_words(metric: Metric, estimate: Estimate, unit: str = "", *, signed: bool = False) -> str:
    """An estimate of ours with its interval, in the column's unit."""
    column = COLUMNS[metric]
    sign = "+" if signed or column.better == "zero" else ""

    def number(value: float) -> str:
        return f"{value * column.scale:{sign}.{column.digits}f}".replace("-", "−")

    words = number(estimate.value)
    if unit or (column.unit and column.unit != "%"):
        words += f" {unit or column.unit}"
    if estimate.low is not None and estimate.high is not None:
        words += f" ({number(estimate.low)} to {number(estimate.high)})"
    return words
