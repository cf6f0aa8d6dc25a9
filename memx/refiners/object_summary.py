"""What an object looked like so far, in a few vectors that are added up over the frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.memory.base import state_dtype
from memx.refiners.position import Sinusoid2d


class ObjectSummary(nn.Module):
    """Pool a frame's value into `queries` vectors an object: half over its mask, half over the rest.

    u = Linear(v) + position;  w = σ(MLP(u)) ⊙ [mask × q/2, (1 − mask) × q/2];
    out = [Σ_n w(n) MLP₂(u(n)), Σ_n w(n)]: weighted sums and, in the last channel, their areas.

    Sums and areas of several frames add; their quotient is the mean over all of them. Computed at least in float32.

    Source: the object memory of Cutie (CVPR 2024), as it is in GDKVM.
    """

    def __init__(self, value_dim: int, dim: int, queries: int):
        super().__init__()
        self.queries = queries
        self.sinusoid = Sinusoid2d(dim)
        self.input_proj = nn.Linear(value_dim, dim)
        self.feature = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.weight = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, queries))

    def forward(self, mask: Float[Tensor, "b y x"], value: Float[Tensor, "b v y x"]) -> Float[Tensor, "b q c1"]:
        tokens = value.flatten(2).transpose(1, 2)
        u = self.input_proj(tokens)
        with torch.autocast(value.device.type, enabled=False):
            u = u.to(state_dtype(u.dtype))
            u = u + self.sinusoid((value.shape[-2], value.shape[-1]), u)
            inside = mask.to(u.dtype).flatten(1)[..., None].expand(-1, -1, self.queries // 2)
            w = self.weight(u).sigmoid() * torch.cat([inside, 1 - inside], dim=-1)
            sums = w.transpose(1, 2) @ self.feature(u)
            return torch.cat([sums, w.sum(1)[..., None]], dim=-1)


def mean_of(summary: Float[Tensor, "b q c1"]) -> Float[Tensor, "b q c"]:
    """sum / (area + 1e-4) of added-up summaries."""
    return summary[..., :-1] / (summary[..., -1:] + 1e-4)
