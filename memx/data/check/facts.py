"""What is known of one case: from headers alone, or from its pixels and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from memx.data.clip import Case, Clip


@dataclass(frozen=True)
class Facts:
    """A case's numbers. What is not known, or was not read, is None.

    size      (y, x) pixels
    spacing   (y, x) millimetres a pixel
    ef        reference ejection fraction in percent
    labelled  number of frames with a label
    pixels    label value → labelled pixels of it in the whole clip
    present   label value → labelled frames that have it
    """

    case: Case
    frames: int
    size: tuple[int, int]
    spacing: tuple[float, float] | None = None
    fps: float | None = None
    ef: float | None = None
    labelled: int | None = None
    pixels: Mapping[int, int] | None = field(default=None)
    present: Mapping[int, int] | None = field(default=None)


def count_labels(labels: Int[Tensor, "..."]) -> dict[int, int]:
    """Label value → pixels, for the values from 0 on that occur."""
    counts = torch.bincount(labels[labels >= 0])
    return {int(value): int(counts[value]) for value in counts.nonzero()[:, 0]}


def clip_facts(case: Case, clip: Clip) -> Facts:
    """The facts of a clip that has been read."""
    labelled = pixels = present = None
    if clip.labels is not None and clip.labelled is not None and len(clip.labels) == len(clip.labelled):
        labels = clip.labels[clip.labelled]
        labelled = len(labels)
        pixels = count_labels(labels)
        present = {value: int((labels == value).flatten(1).any(1).sum()) for value in pixels}
    return Facts(case, len(clip), clip.size, clip.spacing, clip.fps, clip.ef, labelled, pixels, present)
