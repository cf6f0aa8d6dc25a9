"""The sensory state of a mask propagator as a convolutional GRU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memx.registry import sensories
from memx.sensory.base import Sensory


class ConvGRU(nn.Module):
    """h′ = σ(f) · h · (1 − σ(u)) + σ(u) · tanh(n) with (f, u, n) = conv3×3([g, h]).

    Unlike a textbook GRU the old state is scaled by a forget gate as well. h′ has h's precision whatever autocast says.
    """

    def __init__(self, in_dim: int, hidden_dim: int):
        super().__init__()
        self.gates = nn.Conv2d(in_dim + hidden_dim, 3 * hidden_dim, 3, padding=1)
        nn.init.xavier_normal_(self.gates.weight)

    def forward(self, g: Float[Tensor, "b c y x"], h: Float[Tensor, "b k y x"]) -> Float[Tensor, "b k y x"]:
        forget, update, new = self.gates(torch.cat([g.to(h.dtype), h], dim=1)).to(h.dtype).chunk(3, dim=1)
        update = update.sigmoid()
        return forget.sigmoid() * h * (1 - update) + update * new.tanh()


@sensories.register("gru")
class GRUSensory(Sensory):
    """Two convolutional GRUs on one hidden map: one sees the value that is written, the other the decoder's maps.

    Before the read h ← GRU(v, h); after the decoding h ← GRU(Σ_s conv1×1 ↓m_s, h), where ↓ is the mean over the area
    that falls on one position of the memory's stride, and the finest map m carries the mask logit.

    Source: the sensory memory of XMem (ECCV 2022) as it is in Cutie and GDKVM.
    """

    def __init__(self, value_dim: int, sensory_dim: int, decoder_channels: Sequence[int]):
        super().__init__(sensory_dim)
        self.value_gru = ConvGRU(value_dim, sensory_dim)
        *coarse, finest = decoder_channels
        seen = (*coarse, finest + 1)
        self.decoder_proj = nn.ModuleList(nn.Conv2d(channels, sensory_dim, 1) for channels in seen)
        self.decoder_gru = ConvGRU(sensory_dim, sensory_dim)

    def see_value(self, h: Float[Tensor, "b o c y x"], value: Float[Tensor, "b o v y x"]) -> Float[Tensor, "b o c y x"]:
        return self.value_gru(value.flatten(0, 1), h.flatten(0, 1)).view_as(h)

    def see_decoder(
        self, h: Float[Tensor, "b o c y x"], maps: Sequence[Tensor], logits: Float[Tensor, "b o y2 x2"]
    ) -> Float[Tensor, "b o c y x"]:
        pooled = [_pool(level.flatten(0, 1), h.shape[-1]) for level in maps]
        pooled[-1] = torch.cat([pooled[-1], _pool(logits.flatten(0, 1)[:, None], h.shape[-1])], dim=1)
        seen = torch.zeros_like(h).flatten(0, 1)
        for proj, level in zip(self.decoder_proj, pooled, strict=True):
            seen = seen + proj(level)
        return self.decoder_gru(seen, h.flatten(0, 1)).view_as(h)


def _pool(x: Float[Tensor, "b c y x"], width: int) -> Float[Tensor, "b c y2 x2"]:
    """The mean over the area that falls on one position of a map of `width`."""
    factor = x.shape[-1] // width
    return F.avg_pool2d(x, factor) if factor > 1 else x
