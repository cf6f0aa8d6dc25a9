"""A frame and the last masks become the values that a memory writes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.encoders.base import EncoderSlot
from memx.fusion.base import FusionSlot
from memx.registry import build_part


class ValueEncoder(nn.Module):
    """v_o = fusion(encoder([image, mask_o, Σ_{p≠o} mask_p]), Φ) for each object o.

    Objects share the weights and fold into the batch; the sum of the other objects' masks is clamped to 0..1.
    With `identities`, each of so many objects has a learned vector of `value_dim` channels that is added to its value.
    """

    def __init__(
        self,
        in_channels: int,
        pixel_dim: int,
        value_dim: int,
        *,
        encoder: EncoderSlot,
        fusion: FusionSlot,
        identities: int | None = None,
    ):
        super().__init__()
        self.encoder = build_part(encoder, in_channels=in_channels + 2, image_channels=in_channels)
        self.fusion = build_part(fusion, x_dim=self.encoder.channels[0], y_dim=pixel_dim, out_dim=value_dim)
        self.identity = None if identities is None else nn.Parameter(0.1 * torch.randn(identities, value_dim))

    def forward(
        self,
        image: Float[Tensor, "b c y x"],
        masks: Float[Tensor, "b o y x"],
        pixel: Float[Tensor, "b p y16 x16"],
    ) -> Float[Tensor, "b o v y16 x16"]:
        b, o = masks.shape[:2]
        pair = with_others(masks.to(image.dtype))
        seen = torch.cat([image[:, None].expand(-1, o, -1, -1, -1), pair], dim=2)
        deepest = self.encoder(seen.flatten(0, 1))[0]
        pixel = pixel[:, None].expand(-1, o, -1, -1, -1).flatten(0, 1)
        value = self.fusion(deepest, pixel).unflatten(0, (b, o))
        return value if self.identity is None else value + self.identity[:o, :, None, None]


def with_others(masks: Float[Tensor, "b o y x"]) -> Float[Tensor, "b o 2 y x"]:
    """Each object's mask and, beside it, the sum of all others', clamped to 0..1."""
    others = (masks.sum(dim=1, keepdim=True) - masks).clamp(0, 1)
    return torch.stack([masks, others], dim=2)
