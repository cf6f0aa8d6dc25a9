"""ConvGRU memory: one map an object, renewed by convolutional gates."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from memx.memory._recurrent_map import RecurrentMapMemory
from memx.memory.base import Cost, Shape
from memx.registry import memories


@memories.register("conv_gru")
class ConvGRUMemory(RecurrentMapMemory):
    """Convolutional GRU: a map an object, renewed by gates that see each position's neighbours.

        z, ρ = σ(W_zρ ∗ [K, V, H] + b_zρ)
        H̃ = tanh(W_h ∗ [K, V, ρ ⊙ H] + b_h)
        H ← (1 − z) ⊙ H + z ⊙ H̃
        read: r(n) = H(n)

    K is the key map of the frame and V the value map of the object; ∗ is a convolution of size `kernel`, padded with
    zeros, whose part over K is computed once for all objects. State `hidden` (b o v y x), H, of size 0 × 0 before the
    first frame. What is read at a token is H at its position: the query has no say, and |r| ≤ 1. A frame costs the
    same however long the clip. Frames can only be taken one after another, since the gates need the last H.
    Raises ValueError for frames without `Tokens.size`, and for one whose grid is not that of the frames before.
    Ballas et al., arXiv 1511.06432.
    """

    maps = ("hidden",)

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        kernel: Annotated[Literal[1, 3, 5, 7], Field(description="rows and columns of the convolutions")] = 3,
    ):
        super().__init__(key_dim, value_dim, kernel=kernel)
        self.gates = self.convolution(2)
        self.candidate = self.convolution(1)

    def renew(
        self, key: Float[Tensor, "b k y x"], value: Float[Tensor, "b o v y x"], maps: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        (hidden,) = maps
        update, reset = self.convolved(self.gates, key, value, hidden).sigmoid().chunk(2, dim=2)
        kept = self.meet("alpha", 1 - update, "b o v y x")
        update, reset = self.meet("beta", update, "b o v y x"), self.meet("reset", reset, "b o v y x")
        candidate = self.convolved(self.candidate, key, value, reset * hidden).tanh()
        return (kept * hidden + update * candidate,)

    def cost(self, shape: Shape) -> Cost:
        return self.map_cost(shape, gates=3, operations=6)
