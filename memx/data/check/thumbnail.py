"""The two frames of a clip that are shown on the sheet, small enough to keep for many clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from memx.data.clip import Case, Clip

_LARGEST = 640  # longer sides are thinned out


@dataclass(frozen=True)
class Thumbnail:
    """Two frames of a clip with their labels: ED and ES, or the first and the last that are labelled.

    frames   (c, y, x) in [0, 1]
    labels   (y, x) label values
    spacing  (y, x) millimetres a pixel, or None
    wrong    whether the clip has an error
    """

    case: Case
    frames: tuple[Float[np.ndarray, "c y x"], ...]
    labels: tuple[UInt8[np.ndarray, "y x"], ...]
    captions: tuple[str, ...]
    spacing: tuple[float, float] | None
    wrong: bool = False


def thumbnail(case: Case, clip: Clip) -> Thumbnail:
    """The thumbnail of a clip; frames without a label are shown without contours."""
    places = _places(clip)
    step = max(1, -(-max(clip.size) // _LARGEST))
    frames = tuple(clip.video[t, :, ::step, ::step].nan_to_num().clamp(0, 1).numpy().copy() for t, _ in places)
    labels = tuple(_labels(clip, t)[::step, ::step].clamp(0, 255).byte().numpy().copy() for t, _ in places)
    return Thumbnail(case, frames, labels, tuple(words for _, words in places), clip.spacing)


def evenly(ids: list[str], count: int) -> frozenset[str]:
    """At most `count` of the ids, spread evenly over the list."""
    if len(ids) <= count:
        return frozenset(ids)
    return frozenset(ids[place] for place in np.linspace(0, len(ids) - 1, count).round().astype(int))


def _places(clip: Clip) -> list[tuple[int, str]]:
    last = len(clip) - 1
    if clip.ed is not None and clip.es is not None and 0 <= min(clip.ed, clip.es) <= max(clip.ed, clip.es) <= last:
        return [(clip.ed, "ED"), (clip.es, "ES")]
    seen = [] if clip.labelled is None else clip.labelled.nonzero()[:, 0].tolist()
    ends = [seen[0], seen[-1]] if seen else [0, last]
    return [(t, f"frame {t}") for t in ends]


def _labels(clip: Clip, t: int) -> torch.Tensor:
    if clip.labels is None or clip.labels.shape[1:] != clip.video.shape[-2:] or t >= len(clip.labels):
        return torch.zeros(clip.size, dtype=torch.int64)
    return clip.labels[t]
