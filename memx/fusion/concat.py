"""Fusion by concatenation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from memx.fusion.base import Fusion
from memx.registry import fusions


@fusions.register("concat")
class Concat(Fusion):
    """Concatenation: out = conv([x, y])."""

    def __init__(
        self,
        x_dim: int,
        y_dim: int,
        out_dim: int,
        *,
        kernel: Annotated[Literal[1, 3], Field(description="size of the convolution: 1 or 3")] = 1,
    ):
        super().__init__()
        self.mix = nn.Conv2d(x_dim + y_dim, out_dim, kernel, padding=kernel // 2)

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        return self.mix(torch.cat([x, y], dim=1))
