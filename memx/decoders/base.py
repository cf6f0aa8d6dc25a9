"""The decoder contract: what was read for each object, and the frame's finer features, become mask logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn

from memx.registry import Slot


class Decoder(nn.Module):
    """Turn the objects' maps at the memory's stride into one mask logit an object at the finest skip's stride.

    Constructor: `(pixel_dim: int, skip_dims: Sequence[int], *, options…)`; skips are the encoder's finer maps, each of
    half the stride of the one before.

    channels   channels of the maps that `forward` returns beside the logits, the deepest (the input) first
    """

    channels: tuple[int, ...]

    def forward(
        self, pixels: Float[Tensor, "b o c y x"], skips: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> tuple[Float[Tensor, "b o y4 x4"], tuple[Tensor, ...]]:
        """The logits, and the maps (b o c y x) that they were made from, the deepest first."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


DecoderSlot = Annotated[Callable[..., Decoder], Slot("decoder")]
