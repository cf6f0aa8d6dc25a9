"""The encoder contract: a frame becomes feature maps at several strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn

from memx.registry import Slot


class Encoder(nn.Module):
    """Turn frames (b c y x) into feature maps, the deepest first.

    Constructor: `(in_channels: int, image_channels: int | None = None, *, options…)`. The first `image_channels` of the
    input are the picture; the others (masks, say) are what pretrained filters know nothing about.

    channels   channels of each map
    strides    stride of each map, falling by half from map to map, e.g. (16, 8, 4)

    `forward` wants sizes divisible by `strides[0]`.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def forward(self, x: Float[Tensor, "b c y x"]) -> tuple[Tensor, ...]:
        raise NotImplementedError(f"{type(self).__name__} must define forward")


EncoderSlot = Annotated[Callable[..., Encoder], Slot("encoder")]
