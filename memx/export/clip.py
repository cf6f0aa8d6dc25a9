"""The clip that an exported step is tried on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from memx.data.phantom import patient, simulate

FRAMES = 6
_PATIENTS = 4
_ROWS = 64


def drawn_clip(batch: int, channels: int, size: tuple[int, int], frames: int = FRAMES) -> Float[Tensor, "b t c y x"]:
    """Simulated echocardiograms from end diastole to end systole, in [0, 1], always the same ones.

    A heart that contracts gives a trained network something to segment and to remember, which noise need not. All
    clips differ: after the first four, they are the same ones moved aside.
    """
    simulated = [
        simulate(patient(0, i), "4CH" if i % 2 == 0 else "2CH", size=_ROWS, frames=frames, square=True).video
        for i in range(min(batch, _PATIENTS))
    ]
    clips = [np.roll(simulated[i % _PATIENTS], 3 * (i // _PATIENTS), axis=-1) for i in range(batch)]
    video = torch.from_numpy(np.stack(clips)).float() / 255
    resized = F.interpolate(video, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    return resized.unsqueeze(2).repeat(1, 1, channels, 1, 1)
