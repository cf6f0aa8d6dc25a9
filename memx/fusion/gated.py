"""Fusion by a gate a channel."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from memx.fusion.base import Fusion, project
from memx.registry import fusions


@fusions.register("gated")
class Gated(Fusion):
    """Gate a channel and position: g = σ(conv([x, y])); out = g · x + (1 − g) · y.

    x and y are first brought to `out_dim` by conv1×1 where they have other channels; the gate sees them before that.
    """

    def __init__(
        self,
        x_dim: int,
        y_dim: int,
        out_dim: int,
        *,
        kernel: Annotated[Literal[1, 3], Field(description="size of the gate's convolution: 1 or 3")] = 1,
    ):
        super().__init__()
        self.x_proj = project(x_dim, out_dim)
        self.y_proj = project(y_dim, out_dim)
        self.gate = nn.Conv2d(x_dim + y_dim, out_dim, kernel, padding=kernel // 2)

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        gate = self.gate(torch.cat([x, y], dim=1)).sigmoid()
        return gate * self.x_proj(x) + (1 - gate) * self.y_proj(y)
