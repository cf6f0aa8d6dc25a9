"""RWKV-7: a state that decays, and is corrected, channel by channel."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from memx.memory._affine import AffineMemory
from memx.memory._frame_writes import TokenWrite, in_turn
from memx.memory._gates import ChannelGate, Heads, feature_of, required
from memx.memory.base import Cost, Shape, Tokens
from memx.registry import memories

_SLOWEST, _FASTEST = -6.0, -1.0
"""Biases of the decay at initialisation: w from 0.9985 to 0.85 over the key channels."""


@memories.register("rwkv7")
class RWKV7Memory(AffineMemory):
    """RWKV-7: decay every key channel, remove what one key recalls channel by channel, write under another.

        S ← (diag(w_n) − (a_n ⊙ κ̂_n) κ̂_nᵀ) S + k̃_n v_nᵀ  for n = 1, 2, … in raster order
        w = exp(−e^(−1/2) σ(W₂ tanh(W₁ x) + bias)),    a = σ(A₂ A₁ x + bias)
        κ̂ = k ⊙ ξ / |k ⊙ ξ|,    k̃ = k ⊙ (1 + (a − 1) ⊙ ρ)
        read: r(n) = Sᵀ q_n

    State S (b o k v); x is the feature of a token, W₂ W₁ and A₂ A₁ are maps of low rank, ξ and ρ parameters. All
    gates are a number for every head and row of S. Keys and queries are used as they come. w lies between 0.545 and
    1 and a between 0 and 1, so the eigenvalues of what multiplies S lie between −0.455 and 1; what is written is as
    large as the keys are.
    The token shift, value residual, bonus, gate and norm of an RWKV-7 block are left to the model.
    Raises ValueError when `heads` does not divide the value channels, and without token features.
    Peng et al., arXiv 2503.14456.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Heads = 1,
        rank: Annotated[int, Field(ge=1, description="largest rank of the maps from features to gates")] = 16,
    ):
        super().__init__(key_dim, value_dim, heads=heads)
        self.feature_dim = required(feature_dim, "rwkv7")
        self.value_heads = heads
        speeds = torch.linspace(_SLOWEST, _FASTEST, key_dim).expand(heads, -1)
        self.decay = ChannelGate(self.feature_dim, speeds, rank=rank, inner=torch.tanh)
        self.rate = ChannelGate(self.feature_dim, torch.zeros(heads, key_dim), rank=rank)
        self.removal = nn.Parameter(torch.ones(heads, key_dim))
        self.replacement = nn.Parameter(torch.ones(heads, key_dim))

    def frame_write(self, frame: Tokens) -> TokenWrite:
        """Two rank-one steps a token: decay and remove, the removal key reading S before the decay; then write."""
        x, key = feature_of(frame, "rwkv7"), frame.key.unsqueeze(1)
        xi, rho = (p.to(x.dtype).unsqueeze(1) for p in (self.removal, self.replacement))
        fastest = -math.exp(-0.5)
        log_decay = fastest * self.decay(x).sigmoid()
        log_decay = self.meet("alpha", log_decay, "b h n k", low=math.exp(fastest), log=True)
        rate = self.meet("beta", self.rate(x).sigmoid(), "b h n k")
        removed = F.normalize(key * xi, dim=-1)
        written, value = key * (1 + (rate - 1) * rho), self.packed_value(frame)
        return TokenWrite(
            erase=in_turn(removed, torch.zeros_like(removed)),
            write=in_turn(rate * removed, written),
            value=in_turn(torch.zeros_like(value), value),
            log_decay=in_turn(log_decay, torch.zeros_like(log_decay)),
            erase_first=True,
        )

    def cost(self, shape: Shape) -> Cost:
        n, h = shape.tokens, self.heads
        return self.affine_cost(
            shape,
            write=TokenWrite.macs(steps=2 * n, heads=h, rows=self.rows, width=self.width(shape), channelwise=True),
            gate_macs=self.decay.macs(n) + self.rate.macs(n),
            gate_operations=14 * n * h * self.rows,
            feature_dim=self.feature_dim,
        )
