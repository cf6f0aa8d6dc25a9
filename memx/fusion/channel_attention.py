"""The channel-attention residual block that the fuser and the object transformer are made of."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelAttentionBlock(nn.Module):
    """x ↦ y · σ(conv1d_k(GAP y)) + x with y = conv3×3(ReLU(conv3×3(ReLU x))).

    The one-dimensional convolution runs along the channels; its width is k = ⌊(log₂ C + 1) / 2⌋, made odd by adding
    one: 5 for 256 channels.

    Source: Wang et al., ECA-Net, CVPR 2020, in a pre-activation residual block.
    """

    def __init__(self, channels: int):
        super().__init__()
        width = int((math.log2(channels) + 1) // 2)
        width += 1 - width % 2
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        weight = self.attention(y.mean((2, 3))[:, None]).sigmoid()
        return x + y * weight[:, 0, :, None, None]
