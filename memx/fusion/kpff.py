"""Key-pixel feature fusion."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memx.fusion.base import Fusion, project
from memx.registry import fusions


@fusions.register("kpff")
class KPFF(Fusion):
    """Key-pixel feature fusion: one gate a position weighs the map and its mean against the local feature.

    x′ = x + GAP(x);  P = conv3×3(ReLU(conv1×1 y));  g = σ(conv1×1 x′), one channel;  out = g · x′ + (1 − g) · P.

    x is brought to `out_dim` by conv1×1 where it has other channels.

    Source: GDKVM, ICCV 2025 (arXiv 2512.10252), with x the key and y the pixel feature.
    """

    def __init__(self, x_dim: int, y_dim: int, out_dim: int):
        super().__init__()
        self.x_proj = project(x_dim, out_dim)
        self.local1 = nn.Conv2d(y_dim, y_dim, 1)
        self.local2 = nn.Conv2d(y_dim, out_dim, 3, padding=1)
        self.gate = nn.Conv2d(out_dim, 1, 1)

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        x = self.x_proj(x)
        x = x + x.mean((2, 3), keepdim=True)
        local = self.local2(F.relu(self.local1(y)))
        gate = self.gate(x).sigmoid()
        return gate * x + (1 - gate) * local
