"""The refiner contract: between fusion and decoding, each object's map may be looked at as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.memory.state import State
from memx.registry import Slot


class Refiner(nn.Module):
    """Refine the fused maps of the objects, with a state of its own over the frames.

    Constructor: `(pixel_dim: int, value_dim: int, auxiliary: bool = True, *, options…)`. With `auxiliary` it may build
    heads that predict masks on the way, which the loss supervises; without, everything it has must do without them.
    """

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """The state before the first frame."""
        raise NotImplementedError(f"{type(self).__name__} must define init_state")

    def forward(
        self,
        pixels: Float[Tensor, "b o c y x"],
        mask: Float[Tensor, "b o y x"],
        value: Float[Tensor, "b o v y x"],
        state: State,
    ) -> tuple[Float[Tensor, "b o c y x"], Float[Tensor, "b o l y x"] | None, State]:
        """One frame: the refined maps, the logits of `l` auxiliary mask heads (or None), and the state after it.

        `mask` is the last frame's, at the memory's stride; `value` is what it and the frame were encoded into.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")


RefinerSlot = Annotated[Callable[..., Refiner], Slot("refiner")]
