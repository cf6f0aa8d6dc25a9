"""The sensory contract: a recurrent map for each object, updated by what was written and by what was decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.registry import Slot


class Sensory(nn.Module):
    """A hidden map h of `sensory_dim` channels for each object, at the memory's stride.

    Constructor: `(value_dim: int, sensory_dim: int, decoder_channels: Sequence[int], *, options…)`, the channels of
    the decoder's maps, the deepest first.

    `see_value` is called in each frame before the memory is read, `see_decoder` after the masks are decoded.
    """

    def __init__(self, sensory_dim: int):
        super().__init__()
        self.sensory_dim = sensory_dim

    def init_state(
        self,
        batch: int,
        objects: int,
        size: tuple[int, int],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "b o c y x"]:
        """h = 0."""
        return torch.zeros(batch, objects, self.sensory_dim, *size, device=device, dtype=dtype)

    def see_value(self, h: Float[Tensor, "b o c y x"], value: Float[Tensor, "b o v y x"]) -> Float[Tensor, "b o c y x"]:
        """h after the frame's value."""
        raise NotImplementedError(f"{type(self).__name__} must define see_value")

    def see_decoder(
        self, h: Float[Tensor, "b o c y x"], maps: Sequence[Tensor], logits: Float[Tensor, "b o y2 x2"]
    ) -> Float[Tensor, "b o c y x"]:
        """h after the decoder's maps (b o c y x), the deepest first, and the mask logits at the size of the last."""
        raise NotImplementedError(f"{type(self).__name__} must define see_decoder")


SensorySlot = Annotated[Callable[..., Sensory], Slot("sensory")]
