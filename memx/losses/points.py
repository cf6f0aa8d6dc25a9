"""Losses on points instead of all pixels, most of them where the model is not sure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from memx.models.clip_streams import rand_of_clips


def sample_points(maps: Float[Tensor, "n c y x"], points: Float[Tensor, "n p 2"]) -> Float[Tensor, "n c p"]:
    """Bilinear values of maps at points (x, y) in 0..1, where 0 and 1 are the outer edges of the first and last pixel.

    The same points mean the same places on maps of any size. Beyond the outer pixels' centres the nearest one counts.
    """
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)[..., 0]


@torch.no_grad()
def uncertain_points(
    logits: Float[Tensor, "n c y x"],
    count: int,
    *,
    oversample: float = 3.0,
    importance: float = 0.75,
    frames: Sequence[int] | None = None,
) -> Float[Tensor, "n count 2"]:
    """Draw points, most of them where the two most probable classes are close.

    Of `oversample` · count uniform points the `importance` · count with the smallest margin between the two largest
    logits are kept; the rest of the count is uniform. With `frames`, how many of the n maps each clip of the batch has,
    they are drawn from the clips' own streams (`clip_streams`); else, and where there are none, from torch's global
    generator on the logits' device.

    Source: Kirillov et al., PointRend, CVPR 2020.
    """

    def uniform(points: int) -> Float[Tensor, "n points 2"]:
        made = {"device": logits.device, "dtype": logits.dtype}
        if frames is None:
            return torch.rand(logits.shape[0], points, 2, **made)
        return rand_of_clips(frames, points, 2, **made)

    chosen = round(importance * count)
    candidates = uniform(max(round(oversample * count), chosen))
    best, second = sample_points(logits, candidates).topk(2, dim=1).values.unbind(1)
    order = (best - second).topk(chosen, dim=1, largest=False).indices
    uncertain = candidates.gather(1, order[..., None].expand(-1, -1, 2))
    return torch.cat([uncertain, uniform(count - chosen)], dim=1)
