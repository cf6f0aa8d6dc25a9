"""Fusion by a sum."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from memx.fusion.base import Fusion, project
from memx.registry import fusions


@fusions.register("add")
class Add(Fusion):
    """Sum: out = x + y, each first brought to `out_dim` by conv1×1 where it has other channels."""

    def __init__(self, x_dim: int, y_dim: int, out_dim: int):
        super().__init__()
        self.x_proj = project(x_dim, out_dim)
        self.y_proj = project(y_dim, out_dim)

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        return self.x_proj(x) + self.y_proj(y)
