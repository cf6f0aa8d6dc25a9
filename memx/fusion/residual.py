"""GDKVM's fuser of values and of readouts with the pixel feature."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from memx.fusion.base import Fusion
from memx.fusion.channel_attention import ChannelAttentionBlock
from memx.registry import fusions


@fusions.register("residual")
class Residual(Fusion):
    """Sum of projections, refined: out = C(… C(conv1×1 x + conv1×1 y)), C a channel-attention residual block.

    Source: the fuser of Cutie (CVPR 2024), LiVOS and GDKVM, with two blocks.
    """

    def __init__(
        self,
        x_dim: int,
        y_dim: int,
        out_dim: int,
        *,
        blocks: Annotated[int, Field(ge=0, le=8, description="number of channel-attention residual blocks")] = 2,
    ):
        super().__init__()
        self.x_proj = nn.Conv2d(x_dim, out_dim, 1)
        self.y_proj = nn.Conv2d(y_dim, out_dim, 1)
        self.blocks = nn.Sequential(*(ChannelAttentionBlock(out_dim) for _ in range(blocks)))

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        return self.blocks(self.x_proj(x) + self.y_proj(y))
