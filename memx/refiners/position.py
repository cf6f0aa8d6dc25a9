"""Sinusoidal positions in the plane."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoid_2d(
    size: tuple[int, int],
    channels: int,
    *,
    scale: float = 32.0,
    temperature: float = 128.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "n c"]:
    """Encode each of the y · x positions of a map as sines and cosines.

    A coordinate p is stretched to 0..scale along its axis; at frequency ω_i = temperature^(−2i/d) it gives sin(p ω_i)
    and cos(p ω_i), side by side. The first half of the channels encodes x, the second y. `channels` is a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"a sinusoidal position wants a multiple of 4 channels, got {channels}")
    half = channels // 2
    frequency = temperature ** -(torch.arange(0, half, 2, device=device, dtype=torch.float64) / half)

    def encode(length: int) -> Tensor:
        p = torch.arange(length, device=device, dtype=torch.float64)
        angle = torch.outer(p / (length - 1 + 1e-6) * scale, frequency)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    height, width = size
    along_x = encode(width)[None].expand(height, width, half)
    along_y = encode(height)[:, None].expand(height, width, half)
    return torch.cat([along_x, along_y], dim=-1).flatten(0, 1).to(dtype or torch.get_default_dtype())


class Sinusoid2d(nn.Module):
    """`sinusoid_2d` of the positions of a map, on the device and in the precision of another tensor."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, size: tuple[int, int], like: Tensor) -> Float[Tensor, "n c"]:
        return sinusoid_2d(size, self.channels, device=like.device, dtype=like.dtype)
