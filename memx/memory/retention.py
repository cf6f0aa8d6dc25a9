"""Retention: linear attention whose heads forget at fixed rates."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from memx.memory._affine import AffineMemory
from memx.memory._decay import DecayPer
from memx.memory._features import KeyNorm
from memx.memory._frame_writes import SummedWrite, decayed_sum
from memx.memory._gates import Heads
from memx.memory.base import Cost, Shape, Tokens
from memx.registry import memories


@memories.register("retention")
class RetentionMemory(AffineMemory):
    """Retention: every head of value channels decays at its own fixed rate, from short memory to long.

        S ← γ_h S + Σ_n k_n v_nᵀ                            (decay_per: frame)
        S ← γ_h S + k_n v_nᵀ  for n = 1, 2, …               (decay_per: token)
        γ_h = 1 − 2^(−5−h),  h = 0, 1, …
        read: r(n) = Sᵀ q_n

    State S (b o k v). There are no parameters. Head h halves what it holds in about 22 · 2^h frames (or tokens), so
    token by token the first heads do not reach beyond a frame of 256 tokens. S is at most 2^(5+h) times the largest
    sum that a frame writes. RetNet's rotation of keys and queries and its norm over the readout are left to the model.
    Raises ValueError when `heads` does not divide the value channels.
    Sun et al. (RetNet), arXiv 2307.08621.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        *,
        heads: Annotated[Heads, Field(le=32)] = 8,
        decay_per: DecayPer = "frame",
        key_norm: Annotated[KeyNorm, Field(description="map over the channels of keys and queries")] = "softmax",
    ):
        super().__init__(key_dim, value_dim, key_map=key_norm, heads=heads)
        self.decay_per: DecayPer = decay_per

    def log_decay(self, like: Tensor) -> Float[Tensor, " h"]:
        """log γ of the heads, at the precision of `like`."""
        heads = torch.arange(self.heads, dtype=like.dtype, device=like.device)
        return torch.log1p(-torch.exp2(-5 - heads))

    def frame_write(self, frame: Tokens) -> SummedWrite:
        key = self.keys(frame.key).unsqueeze(1)
        log_decay = self.log_decay(key)[:, None].expand(key.shape[0], -1, key.shape[2])
        log_decay = self.meet_decay(log_decay, self.decay_per)
        return decayed_sum(key, self.packed_value(frame), log_decay, self.decay_per)

    def cost(self, shape: Shape) -> Cost:
        n = shape.tokens
        write = SummedWrite.macs(tokens=n, heads=self.heads, rows=self.rows, width=self.width(shape))
        weighing = n * self.heads * (1 + self.rows) if self.decay_per == "token" else 0
        return self.affine_cost(shape, write=write, gate_operations=weighing)
