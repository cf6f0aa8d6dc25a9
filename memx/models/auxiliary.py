"""The auxiliary head that makes the sensory state say where its object is."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class SensoryHead(nn.Module):
    """Mask logits from the sensory state alone: Φ · w + b, where (w, b) = Linear(h) at each position.

    Source: the sensory auxiliary loss of Cutie and GDKVM.
    """

    def __init__(self, sensory_dim: int, pixel_dim: int):
        super().__init__()
        self.projection = nn.Conv2d(sensory_dim, pixel_dim + 1, 1)

    def forward(self, pixel: Float[Tensor, "b p y x"], sensory: Float[Tensor, "b o s y x"]) -> Float[Tensor, "b o y x"]:
        flat = self.projection(sensory.flatten(0, 1).to(self.projection.weight.dtype))
        weight = flat.unflatten(0, sensory.shape[:2])
        return (pixel[:, None] * weight[:, :, :-1]).sum(dim=2) + weight[:, :, -1]
