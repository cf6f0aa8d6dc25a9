"""Gates computed from token features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.memory.base import Tokens

Heads = Annotated[int, Field(ge=1, description="groups of value channels with gates of their own; must divide them")]
"""An option that every memory with gates a head has."""


def required(feature_dim: int | None, option: str) -> int:
    """`feature_dim`, or the ValueError that says which `option` needs it."""
    if feature_dim is None:
        raise ValueError(f"{option} needs token features, which this place in the model does not supply")
    return feature_dim


def feature_of(frame: Tokens, option: str) -> Float[Tensor, "b *t n c"]:
    """The token features, or the ValueError that says which `option` reads them."""
    if frame.feature is None:
        raise ValueError(f"{option} reads Tokens.feature, which is None")
    return frame.feature


def project(
    x: Float[Tensor, "*batch n c"], layer: nn.Linear, bias: Float[Tensor, " h"] | None = None
) -> Float[Tensor, "*batch h n"]:
    """One number a head and token, at the precision of `x`; `bias` is another than the layer's own."""
    bias = layer.bias if bias is None else bias
    return F.linear(x, layer.weight.to(x.dtype), None if bias is None else bias.to(x.dtype)).mT


class ChannelGate(nn.Module):
    """Low-rank map to one number a head, token and key channel: W₂ f(W₁ x) + bias."""

    def __init__(
        self,
        feature_dim: int,
        bias: Float[Tensor, "h k"],
        *,
        rank: int,
        inner: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        heads, key_dim = bias.shape
        rank = min(rank, feature_dim, heads * key_dim)
        self.inner = inner
        self.down = nn.Linear(feature_dim, rank, bias=False)
        self.up = nn.Parameter(torch.empty(heads, key_dim, rank).uniform_(-(rank**-0.5), rank**-0.5))
        self.bias = nn.Parameter(bias.clone())

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b h n k"]:
        low = F.linear(x, self.down.weight.to(x.dtype))
        if self.inner is not None:
            low = self.inner(low)
        out = F.linear(low, self.up.flatten(0, 1).to(x.dtype))
        heads, key_dim = self.bias.shape
        return out.unflatten(-1, (heads, key_dim)).transpose(1, 2) + self.bias.to(x.dtype).unsqueeze(1)

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for the tokens of one frame."""
        return tokens * (self.down.weight.numel() + self.up.numel())
