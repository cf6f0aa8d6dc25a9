"""Gated linear attention: every key channel forgets at a rate computed from the tokens."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from memx.memory._affine import AffineMemory
from memx.memory._decay import DecayPer
from memx.memory._features import KeyNorm
from memx.memory._frame_writes import SummedWrite, decayed_sum
from memx.memory._gates import ChannelGate, Heads, feature_of, required
from memx.memory.base import Cost, Shape, Tokens
from memx.registry import memories


@memories.register("gla")
class GLAMemory(AffineMemory):
    """Gated linear attention (GLA): every key channel decays by a gate of its own, computed from the tokens.

        S ← α ⊙ S + Σ_n k_n v_nᵀ,  log α the mean of the log α_n     (decay_per: frame)
        S ← α_n ⊙ S + k_n v_nᵀ  for n = 1, 2, …                     (decay_per: token)
        log α_n = logσ(W₂ W₁ x_n + bias) / τ,  a number for every head and row of S
        read: r(n) = Sᵀ q_n

    State S (b o k v); x is the feature of a token, W₂ W₁ a map of low rank, τ `temperature`. α is at most 1. With α
    of 1 this is `linear` without its normaliser. The output gate and norm of a GLA layer are left to the model.
    Raises ValueError when `heads` does not divide the value channels, and without token features.
    Yang et al., arXiv 2312.06635.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Heads = 1,
        rank: Annotated[int, Field(ge=1, description="largest rank of the map from features to gates")] = 16,
        temperature: Annotated[float, Field(gt=0, description="τ: a higher one brings α nearer to 1")] = 16.0,
        decay_per: DecayPer = "frame",
        key_norm: Annotated[KeyNorm, Field(description="map over the channels of keys and queries")] = "softmax",
    ):
        super().__init__(key_dim, value_dim, key_map=key_norm, heads=heads)
        self.feature_dim = required(feature_dim, "gla")
        self.value_heads, self.temperature = heads, temperature
        self.decay_per: DecayPer = decay_per
        self.gate = ChannelGate(self.feature_dim, torch.zeros(heads, key_dim), rank=rank)

    def frame_write(self, frame: Tokens) -> SummedWrite:
        log_decay = F.logsigmoid(self.gate(feature_of(frame, "gla"))) / self.temperature
        log_decay = self.meet_decay(log_decay, self.decay_per)
        return decayed_sum(self.keys(frame.key).unsqueeze(1), self.packed_value(frame), log_decay, self.decay_per)

    def cost(self, shape: Shape) -> Cost:
        n, gates = shape.tokens, shape.tokens * self.heads * self.rows
        return self.affine_cost(
            shape,
            write=SummedWrite.macs(tokens=n, heads=self.heads, rows=self.rows, width=self.width(shape)),
            gate_macs=self.gate.macs(n),
            gate_operations=(5 if self.decay_per == "token" else 3) * gates,
            feature_dim=self.feature_dim,
        )
