"""An exported step held to its model: the same clip through both, each with its own state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from memx.errors import UserError
from memx.export.facts import initial_state
from memx.models.base import VideoModel

FRAMES = 6


class ExportedStep(Protocol):
    """A step read back from a file."""

    facts: dict[str, Any]
    engine: str

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Agreement:
    """How far masks, which are probabilities, differ at most over a clip, and what computed them."""

    largest: float
    frames: int
    engine: str


def drawn_clip(batch: int, channels: int, size: tuple[int, int], frames: int = FRAMES) -> Float[Tensor, "b t c y x"]:
    """Smooth noise that drifts over the frames, in [0, 1]; always the same."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(batch * channels, 1, frames + 2, 6, 6, generator=generator)
    volume = F.interpolate(cells, size=(frames, *size), mode="trilinear", align_corners=True)
    return volume.unflatten(0, (batch, channels)).squeeze(2).transpose(1, 2).clamp(0, 1).contiguous()


@torch.no_grad()
def hold(
    step: ExportedStep, model: VideoModel, clip: Float[Tensor, "b t c y x"], objects: int, tolerance: float
) -> Agreement:
    """Run `clip` frame by frame through a step read back from its file, and through the model.

    The step starts from the state that its own description gives. Raises UserError where masks differ by more than
    `tolerance` or are not finite, naming the frame.
    """
    state = initial_state(step.facts, len(clip))
    own = model.init_state(len(clip), objects)
    largest = 0.0
    for t, frame in enumerate(clip.unbind(1)):
        masks, _, *state = step(frame.numpy(), state)
        output, own = model.step(frame, own)
        largest = max(largest, difference(torch.from_numpy(masks), output.masks, t, step.engine, tolerance))
    return Agreement(largest, clip.shape[1], step.engine)


def difference(found: Tensor, wanted: Tensor, frame: int, engine: str, tolerance: float) -> float:
    """The largest difference of two frames' masks. Raises UserError where it is above `tolerance`, or no number."""
    largest = (found - wanted).abs().max().item()
    if not largest <= tolerance:  # NaN, too
        raise UserError(
            f"the exported step does not agree with the model: in frame {frame + 1} of a drawn clip, run by {engine}, "
            f"masks differ by {largest:.1e}, above --atol {tolerance:g}. Nothing was written"
        )
    return largest
