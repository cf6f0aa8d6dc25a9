"""What metrics are called, in which unit, and how published figures of them are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memx.zoo.system import Figure, Metric


@dataclass(frozen=True)
class Column:
    """A metric in words.

    scale   from our figures to the unit that is shown: overlaps are shown in percent, as papers do
    unit    of ours; that of distances comes with the scores
    better  which way is better; a bias is best at zero
    """

    title: str
    unit: str
    scale: float
    digits: int
    better: Literal["higher", "lower", "zero"]


COLUMNS: dict[Metric, Column] = {
    "dice": Column("Dice", "%", 100.0, 2, "higher"),
    "dice_lost": Column("Dice, lost frames", "%", 100.0, 2, "higher"),
    "dice_long": Column("Dice, long clips", "%", 100.0, 2, "higher"),
    "iou": Column("IoU", "%", 100.0, 2, "higher"),
    "hd": Column("HD", "", 1.0, 2, "lower"),
    "hd95": Column("HD95", "", 1.0, 2, "lower"),
    "asd": Column("ASD", "", 1.0, 2, "lower"),
    "ef": Column("EF error", "points", 1.0, 2, "lower"),
    "ef_r": Column("EF r", "", 1.0, 3, "higher"),
    "ef_bias": Column("EF bias", "points", 1.0, 2, "zero"),
    "ms": Column("time", "ms", 1.0, 2, "lower"),
    "fps": Column("FPS", "", 1.0, 1, "higher"),
}


def published_words(metric: Metric, figure: Figure) -> str:
    """A published figure as it was published: `95.11`, `0.86 ± 13.4 points`, `≈ 205`, `93.67 (93.06 to 94.27)`."""

    def number(value: float) -> str:
        whole = figure.about or metric == "fps"
        return (f"{value:g}" if whole else f"{value:.{COLUMNS[metric].digits}f}").replace("-", "−")

    words = f"≈ {number(figure.value)}" if figure.about else number(figure.value)
    if figure.spread is not None:
        words += f" ± {figure.spread:g}"
    unit = figure.unit or COLUMNS[metric].unit.replace("%", "")
    words += f" {unit}" if unit else ""
    if figure.low is not None and figure.high is not None:
        words += f" ({number(figure.low)} to {number(figure.high)})"
    return words
