"""What a segmentation model returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Auxiliary:
    """Logits over background and objects at the memory's stride, for the auxiliary losses. A clip's have `t` after `b`.

    sensory   from the sensory state alone, or None where the model has none
    queries   from each level of the refiner, or None where it has no heads
    """

    sensory: Float[Tensor, "*bt o1 y x"] | None = None
    queries: Float[Tensor, "*bt o1 l y x"] | None = None


@dataclass(frozen=True)
class Output:
    """Masks of a frame, or of a clip: then with `t` after `b`.

    masks      probability of each object at each pixel; with the background's they sum to one
    logits     over background (index 0) and objects, at the frame's size: masks = softmax(logits)[1:]
    auxiliary  in training, or when asked for
    """

    masks: Float[Tensor, "*bt o y x"]
    logits: Float[Tensor, "*bt o1 y x"]
    auxiliary: Auxiliary | None = None

    @classmethod
    def stack(cls, frames: Sequence[Output]) -> Output:
        """The frames of a clip as one output."""
        extras = [frame.auxiliary for frame in frames if frame.auxiliary is not None]
        auxiliary = (
            Auxiliary(_stack([x.sensory for x in extras]), _stack([x.queries for x in extras])) if extras else None
        )
        return cls(
            torch.stack([frame.masks for frame in frames], dim=1),
            torch.stack([frame.logits for frame in frames], dim=1),
            auxiliary,
        )


def _stack(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [x for x in tensors if x is not None]
    return torch.stack(present, dim=1) if present else None
