"""Gated DeltaProduct: several Householder steps of the delta rule for every token."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory._affine import AffineMemory
from memx.memory._decay import DecayPer, as_met, initial_rates, initial_steps, log_decay_of, step_size
from memx.memory._frame_writes import TokenWrite, in_turn, weighted
from memx.memory._gates import Heads, feature_of, project, required
from memx.memory.base import Cost, Shape, Tokens
from memx.registry import memories


@memories.register("gated_delta_product")
class GatedDeltaProductMemory(AffineMemory):
    """Gated DeltaProduct: several delta steps a token, each under a key, a value and a β of its own.

        S ← α S, then for n = 1, 2, … and j = 1 … J:  S ← S + β_nj k_nj (v_nj − Sᵀ k_nj)ᵀ    (decay_per: frame)
        S ← α_n S before the J steps of every token n                                        (decay_per: token)
        k_nj = W_j k_n / |W_j k_n|,    v_nj = U_j v_n,    β_nj = σ(W_βj x_n)
        log α_n = −exp(A_log) · softplus(W_a x_n + dt_bias),    log α the mean of the log α_n
        read: r(n) = Sᵀ q_n,  |q_n| = 1

    State S (b o k v); x is the feature of a token, n its place in raster order, J is `steps`. α and β are one number a
    head, U_j acts within a head. Two steps that reflect (β = 2, which `negative_eigenvalues` reaches by doubling β)
    make a rotation, J of them an orthogonal map that moves at most J dimensions. The first W and U start as the
    identity, so that the first step starts as that of `gated_delta` with gates: token, write: tokens; the others start
    orthogonal. The state never expands: α ≤ 1, β ≤ 2.
    Raises ValueError when `heads` does not divide the value channels, and without token features.
    Siems et al. (DeltaProduct), arXiv 2502.10297; Grazzi et al. (negative eigenvalues), arXiv 2411.12537.
    """

    def __init__(
        self,
        key_dim: int,
        value_dim: int,
        feature_dim: int | None = None,
        *,
        heads: Heads = 8,
        steps: Annotated[int, Field(ge=1, description="J, delta steps a token")] = 2,
        negative_eigenvalues: Annotated[bool, Field(description="β from 0 to 2 instead of from 0 to 1")] = False,
        decay_per: DecayPer = "frame",
    ):
        super().__init__(key_dim, value_dim, key_map="l2", heads=heads)
        self.feature_dim = required(feature_dim, "gated_delta_product")
        self.value_heads = heads
        self.decay_per: DecayPer = decay_per
        self.strongest = 2.0 if negative_eigenvalues else 1.0
        self.a_proj = nn.Linear(self.feature_dim, heads, bias=False)
        self.A_log = nn.Parameter(initial_rates(heads))
        self.dt_bias = nn.Parameter(initial_steps(heads))
        width = value_dim // heads
        self.steps = nn.ModuleList(_Step(key_dim, heads, width, self.feature_dim, j == 0) for j in range(steps))

    def frame_write(self, frame: Tokens) -> TokenWrite:
        x, value = feature_of(frame, "gated_delta_product"), self.packed_value(frame)
        log_decay = log_decay_of(self.A_log[:, None], step_size(project(x, self.a_proj, self.dt_bias)))
        log_decay = as_met(self.meet_decay(log_decay, self.decay_per), self.decay_per, frame.key.shape[1])
        keys, strengths, values = zip(*(step(self.keys(frame.key), x, value) for step in self.steps), strict=True)
        betas = [
            self.meet(f"beta_{j}", self.strongest * strength, "b h n", high=self.strongest)
            for j, strength in enumerate(strengths, start=1)
        ]
        erase = in_turn(*keys)
        return TokenWrite(
            erase,
            weighted(erase, in_turn(*betas)),
            in_turn(*values),
            in_turn(log_decay, *[torch.zeros_like(log_decay)] * (len(self.steps) - 1)),
        )

    def cost(self, shape: Shape) -> Cost:
        n, h, count, width = shape.tokens, self.heads, len(self.steps), self.width(shape)
        each = self.rows**2 + h * width * (self.value_dim // h) + h * self.feature_dim
        return self.affine_cost(
            shape,
            write=TokenWrite.macs(steps=count * n, heads=h, rows=self.rows, width=width),
            gate_macs=n * (h * self.feature_dim + count * each),
            gate_operations=n * (4 * h + count * (h + (3 + h) * self.rows)),
            feature_dim=self.feature_dim,
        )


class _Step(nn.Module):
    """The key, β and value of one delta step of every token."""

    def __init__(self, key_dim: int, heads: int, width: int, feature_dim: int, first: bool):
        super().__init__()
        self.k_proj = nn.Linear(key_dim, key_dim, bias=False)
        self.v_proj = nn.Parameter(torch.empty(heads, width, width))
        self.b_proj = nn.Linear(feature_dim, heads, bias=False)
        for weight in (self.k_proj.weight, *self.v_proj):
            nn.init.eye_(weight) if first else nn.init.orthogonal_(weight)

    def forward(
        self, key: Float[Tensor, "b n k"], x: Float[Tensor, "b n c"], value: Float[Tensor, "b h n V"]
    ) -> tuple[Float[Tensor, "b 1 n k"], Float[Tensor, "b h n"], Float[Tensor, "b h n V"]]:
        weight = self.v_proj.to(x.dtype)
        value = (value.unflatten(-1, (-1, weight.shape[-1])).flatten(2, 3) @ weight.mT).reshape(value.shape)
        key = F.normalize(F.linear(key, self.k_proj.weight.to(x.dtype)), dim=-1)
        return key.unsqueeze(1), project(x, self.b_proj).sigmoid(), value
