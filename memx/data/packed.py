"""A decoded, resized clip in small numbers, as a cache keeps it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt16
from torch import Tensor

from memx.data.clip import Clip


@dataclass(frozen=True)
class PackedClip:
    """What training needs of a clip: pixels in 16 bits, labels in as many bits as they need.

    video     (t, c, y, x) round(65535 · pixel)
    labels    (t, y, x)
    labelled  (t,)
    ed, es    0-based frames, or None
    values    the label values of the clip as it was read, before frames were chosen and resized
    """

    video: UInt16[np.ndarray, "t c y x"]
    labels: Integer[np.ndarray, "t y x"]
    labelled: Bool[np.ndarray, " t"]
    ed: int | None
    es: int | None
    values: frozenset[int]

    @classmethod
    def pack(cls, clip: Clip, values: frozenset[int]) -> PackedClip:
        """Raises ValueError for a clip without labels."""
        if clip.labels is None or clip.labelled is None:
            raise ValueError("a clip is packed with its labels; this one has none")
        labels = clip.labels.numpy()
        pixels = np.empty(clip.video.shape, np.uint16)
        for frame, packed in zip(clip.video, pixels, strict=True):  # double precision of one frame at a time
            packed[:] = (frame.double() * 65535).round().numpy()
        small = labels.astype(np.min_scalar_type(int(labels.max())))
        return cls(pixels, small, clip.labelled.numpy().copy(), clip.ed, clip.es, values)

    def timeline(self) -> Clip:
        """The clip with frames of 0 × 0 pixels: what choosing frames needs to know."""
        empty = torch.zeros(len(self.video), self.video.shape[1], 0, 0)
        return Clip(video=empty, labelled=torch.from_numpy(self.labelled), ed=self.ed, es=self.es)

    def frames(
        self, indices: list[int] | None = None
    ) -> tuple[Float[Tensor, "t c y x"], Integer[Tensor, "t y x"], Bool[Tensor, " t"]]:
        """Video in [0, 1], labels and labelled frames, whole or of these frames; nothing of it is shared."""
        chosen = slice(None) if indices is None else np.array(indices)
        video = torch.from_numpy(self.video[chosen].astype(np.float32)).div_(65535)
        labels = torch.from_numpy(self.labels[chosen].astype(np.int64))
        return video, labels, torch.from_numpy(self.labelled[chosen].copy())
