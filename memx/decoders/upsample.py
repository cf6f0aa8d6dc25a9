"""GDKVM's mask decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.decoders.base import Decoder
from memx.fusion.base import project
from memx.registry import decoders


class UpsampleBlock(nn.Module):
    """m ↦ proj(s) + GELU(conv3×3(GELU(conv3×3 s))) with s = bilinear ×2 of m + skip; proj is conv1×1 or nothing."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, out_dim, 3, padding=1)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1)
        self.proj = project(in_dim, out_dim)

    def forward(self, x: Float[Tensor, "b o c y x"], skip: Float[Tensor, "b c y2 x2"]) -> Tensor:
        b, o = x.shape[:2]
        up = F.interpolate(x.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False)
        s = (up.unflatten(0, (b, o)) + skip[:, None]).flatten(0, 1)
        out = self.proj(s) + F.gelu(self.conv2(F.gelu(self.conv1(s))))
        return out.unflatten(0, (b, o))


@decoders.register("upsample")
class Upsample(Decoder):
    """Residual upsampling with skips: for each finer stride ×2 bilinear + conv1×1 skip, two convolutions; then conv1×1.

    Source: the mask decoder of GDKVM (LiVOS's with GELU); 256 → 128 → 128 channels → one logit at stride 4.
    """

    def __init__(
        self,
        pixel_dim: int,
        skip_dims: Sequence[int],
        *,
        dim: Annotated[
            int, Field(ge=1, description="channels of the upsampled maps; the published network has 128")
        ] = 128,
    ):
        super().__init__()
        inputs = [pixel_dim] + [dim] * (len(skip_dims) - 1)
        self.channels = (pixel_dim, *[dim] * len(skip_dims))
        self.skips = nn.ModuleList(nn.Conv2d(skip, width, 1) for skip, width in zip(skip_dims, inputs, strict=True))
        self.ups = nn.ModuleList(UpsampleBlock(width, dim) for width in inputs)
        self.predict = nn.Conv2d(self.channels[-1], 1, 1)

    def forward(
        self, pixels: Float[Tensor, "b o c y x"], skips: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> tuple[Float[Tensor, "b o y4 x4"], tuple[Tensor, ...]]:
        maps = [pixels]
        for up, proj, skip in zip(self.ups, self.skips, skips, strict=True):
            maps.append(up(maps[-1], proj(skip)))
        logits = self.predict(maps[-1].flatten(0, 1)).unflatten(0, pixels.shape[:2])
        return logits[:, :, 0], tuple(maps)
