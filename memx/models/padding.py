"""Frames of any size for networks that want multiples of a stride."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def padded_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The smallest height and width that hold `size` and are multiples of `stride`."""
    height, width = (-(-length // stride) * stride for length in size)
    return height, width


def pad(frames: Float[Tensor, "b c y x"], stride: int) -> Float[Tensor, "b c y2 x2"]:
    """Repeat the last row and column until both sizes are multiples of `stride`; `crop` undoes it."""
    height, width = padded_size((frames.shape[-2], frames.shape[-1]), stride)
    extra = (0, width - frames.shape[-1], 0, height - frames.shape[-2])
    return F.pad(frames, extra, mode="replicate") if any(extra) else frames


def crop(x: Float[Tensor, "*b y2 x2"], size: tuple[int, int]) -> Float[Tensor, "*b y x"]:
    """The top left part of `size`."""
    return x[..., : size[0], : size[1]]
