"""Mamba-2: a state space whose heads share the maps into and out of the state and decay by one number each."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory._affine import AffineMemory
from memx.memory._decay import initial_rates, initial_steps, log_decay_of, step_size
from memx.memory._frame_writes import SummedWrite, decayed_sum, weighted
from memx.memory._gates import Heads, feature_of, project, required
from memx.memory.base import Cost, Shape, Tokens
from memx.memory.state import State
from memx.registry import memories


@memories.register("mamba2")
class Mamba2Memory(AffineMemory):
    """Mamba-2 (SSD): a state space in which every head of value channels decays by one number a token.

        S ← exp(−exp(A_log) Δ_n) S + Δ_n B_n x_nᵀ  for n = 1, 2, … in raster order, x the value token
        B = W_B k,    C = W_C q,    Δ = softplus(W f + dt_bias)
        read: y(n) = Sᵀ C_n + D ⊙ x_n

    State S (b o N v), N = state_dim. Δ, A_log and D are one number a head, Δ from the token's feature f. B and C
    belong to the frame, as its keys do, and all heads and objects share them. The decays are at most 1. The
    convolution, gate and norm of a Mamba-2 block are left to the model.
    Raises ValueError when `heads` does not divide the value channels, and without token features.
    Dao and Gu, arXiv 2405.21060.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Heads = 8,
        state_dim: Annotated[int, Field(ge=1, description="rows of the state: leaky sums a value channel")] = 64,
    ):
        super().__init__(key_dim, value_dim, heads=heads, rows=state_dim)
        self.value_heads = heads
        self.feature_dim = required(feature_dim, "mamba2")
        self.B_proj = nn.Linear(key_dim, state_dim, bias=False)
        self.C_proj = nn.Linear(key_dim, state_dim, bias=False)
        self.dt_proj = nn.Linear(self.feature_dim, heads, bias=False)
        self.A_log = nn.Parameter(initial_rates(heads))
        self.dt_bias = nn.Parameter(initial_steps(heads))
        self.D = nn.Parameter(torch.ones(heads))

    def keys(self, key: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n r"]:
        return F.linear(key, self.B_proj.weight.to(key.dtype))

    def queries(self, query: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n r"]:
        return F.linear(query, self.C_proj.weight.to(query.dtype))

    def frame_write(self, frame: Tokens) -> SummedWrite:
        B = self.keys(frame.key).unsqueeze(1)
        step = step_size(project(feature_of(frame, "mamba2"), self.dt_proj, self.dt_bias))
        log_decay = self.meet_decay(log_decay_of(self.A_log[:, None], step), "token")
        step = self.meet("beta", step, "b h n", high=math.inf)
        return decayed_sum(weighted(B, step), self.packed_value(frame), log_decay, "token")

    def recall(self, S: Float[Tensor, "b h r V"], frame: Tokens, leaves: State) -> Float[Tensor, "b o n v"]:
        D = self.D.to(S.dtype).repeat_interleave(self.value_dim // self.heads)
        return super().recall(S, frame, leaves) + D * frame.value

    def cost(self, shape: Shape) -> Cost:
        n = shape.tokens
        return self.affine_cost(
            shape,
            write=SummedWrite.macs(tokens=n, heads=self.heads, rows=self.rows, width=self.width(shape)),
            gate_macs=n * (2 * self.key_dim * self.rows + self.feature_dim * self.heads),
            gate_operations=n * (self.heads * (4 + 2 * self.rows) + shape.objects * self.value_dim),
            feature_dim=self.feature_dim,
        )
