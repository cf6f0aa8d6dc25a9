"""The fusion contract: two feature maps of one frame become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn

from memx.registry import Slot


class Fusion(nn.Module):
    """Fuse `x` (b x_dim y x) with `y` (b y_dim y x) into (b out_dim y x).

    Constructor: `(x_dim: int, y_dim: int, out_dim: int, *, options…)`. The same blocks serve in three places of a
    mask propagator: key with pixel feature, value with pixel feature, and pixel feature with readout.
    """

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        raise NotImplementedError(f"{type(self).__name__} must define forward")


FusionSlot = Annotated[Callable[..., Fusion], Slot("fusion")]


def project(in_dim: int, out_dim: int) -> nn.Module:
    """conv1×1 where the number of channels changes, nothing where it does not."""
    return nn.Identity() if in_dim == out_dim else nn.Conv2d(in_dim, out_dim, 1)
