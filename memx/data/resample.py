"""A clip at another size, its spacing carried along."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from memx.data.clip import Clip


def resize_clip(clip: Clip, size: int | tuple[int, int]) -> Clip:
    """The clip at `size` pixels: one number for a square, or (y, x).

    The video is resampled bilinearly with antialiasing, labels by the nearest pixel centre. Each axis keeps its
    physical length, spacing′ = spacing · old / new, so that the spacing becomes anisotropic when the aspect changes.
    Raises ValueError for a size below 1.
    """
    new = (size, size) if isinstance(size, int) else size
    if min(new) < 1:
        raise ValueError(f"size must be at least 1 pixel; got {new}")
    old = clip.size
    if new == old:
        return clip
    labels = clip.labels
    if labels is not None:
        small = labels[:, None] if labels.dtype == torch.uint8 else labels[:, None].float()
        labels = interpolate(small, size=new, mode="nearest-exact")[:, 0].to(labels.dtype)
    video = interpolate(clip.video, size=new, mode="bilinear", align_corners=False, antialias=True)
    spacing = clip.spacing
    if spacing is not None:
        spacing = (spacing[0] * old[0] / new[0], spacing[1] * old[1] / new[1])
    return clip.replace(video=video.clamp(0, 1), labels=labels, spacing=spacing)
