"""Kimi delta attention: the gated delta rule with a decay of its own for every key channel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from memx.memory._affine import AffineMemory
from memx.memory._decay import DecayPer, as_met, initial_rates, initial_steps, log_decay_of, step_size
from memx.memory._frame_writes import TokenWrite, weighted
from memx.memory._gates import ChannelGate, Heads, feature_of, project, required
from memx.memory.base import Cost, Shape, Tokens
from memx.registry import memories


@memories.register("kda")
class KDAMemory(AffineMemory):
    """Kimi delta attention (KDA): the gated delta rule with a decay for every key channel.

        S ← α ⊙ S, then S ← S + β_n k_n (v_n − Sᵀ k_n)ᵀ  for n = 1, 2, …       (decay_per: frame)
        S ← α_n ⊙ S, S ← S + β_n k_n (v_n − Sᵀ k_n)ᵀ  for n = 1, 2, …          (decay_per: token)
        log α_n = −exp(A_log) · softplus(W₂ W₁ x_n + dt_bias),  log α the mean of the log α_n,  β_n = σ(W_b x_n)
        read: r(n) = Sᵀ q_n

    with keys and queries of length 1, tokens in raster order. State S (b o k v); x is the feature of a token, W₂ W₁ a
    map of low rank. α is a number for every head and row of S, β and A_log one a head. The state never expands: α ≤ 1,
    β ≤ 1, |k| = 1.
    The convolutions, output gate and norm of a KDA layer are left to the model.
    Raises ValueError when `heads` does not divide the value channels, and without token features.
    Kimi Team, arXiv 2510.26692.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Heads = 1,
        rank: Annotated[int, Field(ge=1, description="largest rank of the map from features to decays")] = 16,
        decay_per: DecayPer = "frame",
    ):
        super().__init__(key_dim, value_dim, key_map="l2", heads=heads)
        self.feature_dim = required(feature_dim, "kda")
        self.value_heads = heads
        self.decay_per: DecayPer = decay_per
        self.A_log = nn.Parameter(initial_rates(heads))
        self.decay = ChannelGate(self.feature_dim, initial_steps(heads, key_dim), rank=rank)
        self.b_proj = nn.Linear(self.feature_dim, heads, bias=False)

    def frame_write(self, frame: Tokens) -> TokenWrite:
        x, key = feature_of(frame, "kda"), self.keys(frame.key).unsqueeze(1)
        log_decay = log_decay_of(self.A_log[:, None, None], step_size(self.decay(x)))
        log_decay = as_met(self.meet_decay(log_decay, self.decay_per), self.decay_per, key.shape[2])
        beta = self.meet("beta", project(x, self.b_proj).sigmoid(), "b h n")
        return TokenWrite(key, weighted(key, beta), self.packed_value(frame), log_decay)

    def cost(self, shape: Shape) -> Cost:
        n, h = shape.tokens, self.heads
        return self.affine_cost(
            shape,
            write=TokenWrite.macs(steps=n, heads=h, rows=self.rows, width=self.width(shape), channelwise=True),
            gate_macs=self.decay.macs(n) + n * h * self.feature_dim,
            gate_operations=n * h * (1 + 5 * self.rows),
            feature_dim=self.feature_dim,
        )
