"""The fusion contract: two feature maps of one frame become one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Fusion(nn.Module):
    """Fuse `x` (b x_dim y x) with `y` (b y_dim y x) into (b out_dim y x).

    Constructor: `(x_dim: int, y_dim: int, out_dim: int, *, options…)`. The same blocks serve in three places of a
    mask propagator: key with pixel feature, value with pixel feature, and pixel feature with readout.
    """

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        raise NotImplementedError
