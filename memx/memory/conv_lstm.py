"""ConvLSTM memory: a hidden map and a cell an object, renewed by convolutional gates."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from memx.memory._recurrent_map import RecurrentMapMemory
from memx.memory.base import Cost, Shape
from memx.registry import memories


@memories.register("conv_lstm")
class ConvLSTMMemory(RecurrentMapMemory):
    """Convolutional LSTM: a hidden map and a cell an object, renewed by gates that see each position's neighbours.

        i, f, o = σ(W_ifo ∗ [K, V, H] + b_ifo),    g = tanh(W_g ∗ [K, V, H] + b_g)
        C ← f ⊙ C + i ⊙ g,    H ← o ⊙ tanh(C)
        read: r(n) = H(n)

    K is the key map of the frame and V the value map of the object; ∗ is one convolution of size `kernel`, padded
    with zeros, whose part over K is computed once for all objects. The original's peepholes (gates that see C through
    a weight a position) are left out: they would tie the weights to one grid. State `hidden` and `cell` (b o v y x),
    H and C, of size 0 × 0 before the first frame. What is read at a token is H at its position: the query has no say.
    Stability: |r| ≤ 1, and C grows by at most 1 a frame. Frames can only be taken one after another, since the gates
    need the last H.
    Raises ValueError for frames without `Tokens.size`, and for one whose grid is not that of the frames before.
    Shi et al., arXiv 1506.04214.
    """

    maps = ("hidden", "cell")

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        kernel: Annotated[Literal[1, 3, 5, 7], Field(description="rows and columns of the convolution")] = 3,
        forget_bias: Annotated[
            float, Field(ge=-10, le=10, description="bias of the forget gate at initialisation; 1: remember at first")
        ] = 1.0,
    ):
        super().__init__(key_dim, value_dim, kernel=kernel)
        self.gates = self.convolution(4)
        assert self.gates.bias is not None
        with torch.no_grad():
            self.gates.bias[value_dim : 2 * value_dim].fill_(forget_bias)

    def renew(
        self, key: Float[Tensor, "b k y x"], value: Float[Tensor, "b o v y x"], maps: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        hidden, cell = maps
        opened, forget, shown, new = self.convolved(self.gates, key, value, hidden).chunk(4, dim=2)
        alpha = self.meet("alpha", forget.sigmoid(), "b o v y x")
        beta = self.meet("beta", opened.sigmoid(), "b o v y x")
        cell = alpha * cell + beta * new.tanh()
        return self.meet("output", shown.sigmoid(), "b o v y x") * cell.tanh(), cell

    def cost(self, shape: Shape) -> Cost:
        return self.map_cost(shape, gates=4, operations=8)
