"""Multi-head attention between two sets of tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V in `heads` heads, with Q, K, V and the output projected linearly.

    The three input projections are one matrix (3c × c), Q's rows first.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"attention over {dim} channels cannot have {heads} heads: {dim} is not a multiple of {heads}"
            )
        self.heads = heads
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Float[Tensor, "b q c"],
        key: Float[Tensor, "b n c"],
        value: Float[Tensor, "b n c"],
        visible: Bool[Tensor, "b q n"] | None = None,
    ) -> Float[Tensor, "b q c"]:
        """Attend from `query` to `key`; where `visible` is given, to the positions where it is True only."""
        weights, biases = self.in_proj.weight.chunk(3), self.in_proj.bias.chunk(3)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        mask = None if visible is None else visible[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def sees_something(visible: Bool[Tensor, "*b q n"]) -> Bool[Tensor, "*b q n"]:
    """The same visibility, but a row that sees nothing sees everything."""
    return visible | ~visible.any(dim=-1, keepdim=True)


def halves(foreground: Bool[Tensor, "*b n"], queries: int) -> Bool[Tensor, "*b q n"]:
    """Visibility for `queries` rows: the first half sees the foreground, the other half the background."""
    first = foreground[..., None, :].expand(*foreground.shape[:-1], queries // 2, -1)
    return sees_something(torch.cat([first, ~first], dim=-2))
