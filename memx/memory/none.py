"""No memory: the ablation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memx.memory.base import Cost, Memory, Shape, Tokens, state_dtype
from memx.memory.state import State
from memx.registry import memories


@memories.register("none")
class NoMemory(Memory):
    """No memory: nothing is kept and nothing is recalled.

        S ← S
        read: r(n) = 0

    The ablation: a mask propagator without a memory is guided by the last mask, and by what its sensory state keeps.
    State S (b o 0 v), a matrix without rows, whose product with any query is 0.
    Guided by the last mask alone: MaskTrack, arXiv 1612.02646.
    """

    def __init__(self, key_dim: int, value_dim: int):
        super().__init__()
        self.key_dim, self.value_dim = key_dim, value_dim

    def why_not(self, form: str) -> str:
        return "there is nothing to compute"

    def init_state(
        self,
        batch: int,
        objects: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        return State(S=torch.zeros(batch, objects, 0, self.value_dim, device=device, dtype=state_dtype(dtype)))

    def write(self, state: State, frame: Tokens) -> State:
        return self.restart(state, frame)

    def read(self, state: State, frame: Tokens) -> Float[Tensor, "b o n v"]:
        return torch.zeros_like(frame.value)

    def cost(self, shape: Shape) -> Cost:
        readouts = 4 * shape.batch * shape.frames * shape.objects * shape.tokens * self.value_dim
        return Cost(macs=0, pointwise=0, bytes_moved=readouts, state_bytes=0)
