"""A frame as the network sees it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """What a frame gives without looking at any other."""

    image: Float[Tensor, "b c y x"]
    """Padded to the stride, in −1..1."""
    pixel: Float[Tensor, "b p y16 x16"]
    key: Float[Tensor, "b k y16 x16"]
    skips: tuple[Tensor, ...]
