"""Frames as they are in space: pixels that are not square are made square before a picture is drawn."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

_SQUARE = 0.02  # relative difference of the two spacings below which nothing is done


def square_pixels(
    frame: Float[Tensor, "c y x"], mask: UInt8[np.ndarray, "y x"], spacing: tuple[float, float] | None
) -> tuple[Float[Tensor, "c y2 x2"], UInt8[np.ndarray, "y2 x2"]]:
    """A frame (bilinear) and its label mask (nearest), the coarser axis enlarged to the finer spacing.

    spacing  (y, x) millimetres a pixel; None leaves both as they are, and so do square pixels
    """
    if spacing is None or abs(spacing[0] / spacing[1] - 1) < _SQUARE:
        return frame, mask
    finest = min(spacing)
    size = [max(1, round(side * s / finest)) for side, s in zip(mask.shape, spacing, strict=True)]
    image = functional.interpolate(frame[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    labels = functional.interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="nearest-exact")
    return image, labels[0, 0].numpy().astype(np.uint8)
