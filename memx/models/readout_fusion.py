"""What the memory recalls meets what the frame shows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.fusion.base import FusionSlot
from memx.models.value_encoder import with_others
from memx.registry import build_part


class ReadoutFusion(nn.Module):
    """p_o = fusion(Φ, r_o + conv1×1([h_o, mask_o, Σ_{p≠o} mask_p])) for each object o.

    r is the memory's readout, h the sensory state (left out with `sensory_dim=0`), the masks are the last frame's at
    the memory's stride.
    """

    def __init__(self, pixel_dim: int, value_dim: int, sensory_dim: int, *, fusion: FusionSlot):
        super().__init__()
        self.compress = nn.Conv2d(sensory_dim + 2, value_dim, 1)
        self.fusion = build_part(fusion, x_dim=pixel_dim, y_dim=value_dim, out_dim=pixel_dim)

    def forward(
        self,
        pixel: Float[Tensor, "b p y x"],
        readout: Float[Tensor, "b o v y x"],
        sensory: Float[Tensor, "b o s y x"] | None,
        masks: Float[Tensor, "b o y x"],
    ) -> Float[Tensor, "b o p y x"]:
        b, o = masks.shape[:2]
        context = with_others(masks)
        if sensory is not None:
            context = torch.cat([sensory.to(context.dtype), context], dim=2)
        context = self.compress(context.flatten(0, 1).to(self.compress.weight.dtype))
        readout = readout.flatten(0, 1).to(context.dtype) + context
        pixel = pixel[:, None].expand(-1, o, -1, -1, -1).flatten(0, 1)
        return self.fusion(pixel, readout).unflatten(0, (b, o))
