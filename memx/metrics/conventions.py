"""How each protocol takes the overlap of two masks: the one thing in which the protocols differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memx.metrics.overlap import dice, iou
from memx.metrics.rowwise import row_wise_dice, row_wise_iou

MaskScore = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float | None]


@dataclass(frozen=True)
class Convention:
    """Dice and IoU as one protocol takes them.

    label       what stands before the words Dice and IoU wherever such a figure is shown
    dice, iou   of two boolean masks (y, x); None where not applicable
    words       the sentences of the protocol about overlap
    one_empty, both_empty  what becomes of masks that are empty on one side or on both, in a few words
    warning     what a reader must not do with the figures; empty where nothing is odd about them
    """

    label: str
    dice: MaskScore
    iou: MaskScore
    words: str
    one_empty: str
    both_empty: str
    warning: str = ""

    def title(self, name: str) -> str:
        """`Dice` or `IoU` with the label before it."""
        return f"{self.label} {name}".strip()


WHOLE = Convention(
    label="",
    dice=dice,
    iou=iou,
    words="Dice is 2|P∩T| / (|P|+|T|) and IoU is |P∩T| / |P∪T|, over the pixels of that one mask.",
    one_empty="Dice and IoU 0, distances the diagonal of the field of view",
    both_empty="not applicable, left out",
)
ROW_WISE = Convention(
    label="Row-wise",
    dice=row_wise_dice,
    iou=row_wise_iou,
    words=(
        "Dice and IoU are row-wise, as in GDKVM's 2025 release, and comparable with its figures alone: every row of "
        "the picture is scored by itself, (2|P∩T| + ε) / (|P|+|T| + ε) and (|P∩T| + ε) / (|P∪T| + ε) with ε = 1e-5, "
        "and the score of a mask is the mean over all rows. A row that is empty on both sides counts 1, so that an "
        "empty prediction scores the share of rows without the structure, about 0.45 on CAMUS. Two things differ from "
        "the release: it scores at the network's size, and its mean is of the means of batches of clips."
    ),
    one_empty="row-wise Dice and IoU the share of rows empty in both, distances the diagonal of the field of view",
    warning="Row-wise Dice and IoU stand beside GDKVM's 2025 release alone: an empty prediction scores about 0.45",
    both_empty="row-wise Dice and IoU 1, distances not applicable and left out",
)

CONVENTIONS = {"memx-1": WHOLE, "gdkvm-release-2025": ROW_WISE}
"""Protocol name → its convention."""
