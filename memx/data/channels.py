"""Grey and colour: the one place where one becomes the other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def with_channels(video: Float[Tensor, "t c y x"], channels: int) -> Float[Tensor, "t d y x"]:
    """A grey clip repeated to three channels, or a colour clip made grey by ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.

    Raises ValueError for other numbers of channels.
    """
    have = video.shape[1]
    if have == channels:
        return video
    if (have, channels) == (1, 3):
        return video.expand(-1, 3, -1, -1)
    if (have, channels) == (3, 1):
        return (video * video.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True).clamp(0, 1)
    raise ValueError(f"a clip has 1 or 3 channels; cannot make {channels} of {have}")
