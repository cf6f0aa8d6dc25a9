"""The row-wise Dice and IoU of GDKVM's 2025 release: for comparison with its figures, and for nothing else.

Its evaluation hands one mask (y, x) to functions that take a batch of masks, so that every row of the picture is
scored as if it were a mask of its own. A row that is empty on both sides counts 1: an empty prediction scores the share
of rows in which the structure is not, about 0.45 on CAMUS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from memx.metrics.overlap import boolean_pair

SMOOTH = 1e-5


def row_wise_dice(pred: ArrayLike, truth: ArrayLike) -> float:
    """Mean over the rows of a mask of the smoothed Dice of each row.

        1/Y Σ_y (2 |P_y ∩ T_y| + ε) / (|P_y| + |T_y| + ε),   ε = 1e-5

    pred, truth boolean (y, x); a row is all pixels of one y. Both empty: 1.
    Source: the 2025 release of GDKVM (ICCV 2025).
    """
    first, second = _rows(pred, truth)
    both, total = (first & second).sum(1), first.sum(1) + second.sum(1)
    return float(((2 * both + SMOOTH) / (total + SMOOTH)).mean())


def row_wise_iou(pred: ArrayLike, truth: ArrayLike) -> float:
    """Mean over the rows of a mask of the smoothed intersection over union of each row.

        1/Y Σ_y (|P_y ∩ T_y| + ε) / (|P_y ∪ T_y| + ε),   ε = 1e-5

    pred, truth boolean (y, x); a row is all pixels of one y. Both empty: 1. Source: as `row_wise_dice`.
    """
    first, second = _rows(pred, truth)
    return float((((first & second).sum(1) + SMOOTH) / ((first | second).sum(1) + SMOOTH)).mean())


def _rows(pred: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = boolean_pair(pred, truth)
    if first.ndim != 2 or not first.shape[0]:
        raise ValueError(f"the masks are {first.shape}; row-wise scores want (y, x) with at least one row")
    return first, second
