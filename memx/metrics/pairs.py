"""Pairs of a predicted and a true mask: what a protocol scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memx.metrics.rows import Phase
from memx.metrics.surface import Spacing


@dataclass(frozen=True, eq=False)
class Pair:
    """A predicted and a true mask of one structure in one frame, at the truth's own size.

    prediction, truth  boolean (y, x)
    spacing            (y, x) millimetres a pixel of the truth, or None
    frame              0-based, among the frames that the model saw
    clip_frame         the same frame in the whole clip on disk; None: `frame`
    """

    prediction: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    spacing: Spacing | None
    patient: str
    view: str
    structure: str
    phase: Phase = "other"
    frame: int = 0
    clip_frame: int | None = None

    @property
    def on_disk(self) -> int:
        """The frame's place in the whole clip."""
        return self.frame if self.clip_frame is None else self.clip_frame

    @property
    def place(self) -> str:
        return f"patient {self.patient or '?'}, view {self.view or '?'}, frame {self.frame}, {self.structure}"


def label_pairs(
    prediction: ArrayLike,
    truth: ArrayLike,
    structures: Mapping[str, int],
    *,
    spacing: Spacing | None,
    patient: str,
    view: str,
    phase: Phase = "other",
    frame: int = 0,
) -> Iterator[Pair]:
    """The pairs of one frame from two label maps (y, x), a pair for every named label value."""
    first, second = np.asarray(prediction), np.asarray(truth)
    for structure, value in structures.items():
        yield Pair(first == value, second == value, spacing, patient, view, structure, phase, frame)
