"""Overlap of two masks: Dice and intersection over union."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def boolean_pair(pred: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks as boolean arrays of one shape.

    Raises TypeError for anything but booleans (a label map or a probability has to be compared with a value first) and
    ValueError for two shapes.
    """
    first, second = np.asarray(pred), np.asarray(truth)
    for name, mask in (("pred", first), ("truth", second)):
        if mask.dtype != np.bool_:
            raise TypeError(f"{name} is {mask.dtype}; wants a boolean mask, such as `labels == 1`")
    if first.shape != second.shape:
        raise ValueError(f"pred is {first.shape} and truth is {second.shape}; resize pred to the size of truth")
    return first, second


def dice(pred: ArrayLike, truth: ArrayLike) -> float | None:
    """Dice coefficient of two boolean masks.

        Dice = 2 |P ∩ T| / (|P| + |T|)

    Any shape, the same for both. Both empty: None, not applicable, since a 1.0 would reward what was never asked.
    One empty: 0.
    """
    first, second = boolean_pair(pred, truth)
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else None


def iou(pred: ArrayLike, truth: ArrayLike) -> float | None:
    """Intersection over union (Jaccard index) of two boolean masks.

        IoU = |P ∩ T| / |P ∪ T|

    Any shape, the same for both. Both empty: None. One empty: 0.
    """
    first, second = boolean_pair(pred, truth)
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else None
