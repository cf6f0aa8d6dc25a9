"""One step of a model between flat lists of tensors: what a graph is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.memory.state import State
from memx.models.base import VideoModel

NEXT = "next."
"""Stands before a state's name where it is an output: a graph may define a name only once."""


class Step(nn.Module):
    """(frame, state …) → (masks, logits, next state …).

    `paths` are those of `State.tensors()`, in whose order the tensors stand, in and out.
    """

    def __init__(self, model: VideoModel, paths: tuple[str, ...]):
        super().__init__()
        self.model = model
        self.paths = paths

    def forward(self, frame: Float[Tensor, "b c y x"], *state: Tensor) -> tuple[Tensor, ...]:
        before = State.from_tensors(dict(zip(self.paths, state, strict=True)))
        output, after = self.model.step(frame, before, auxiliary=False)
        tensors = after.tensors()
        return output.masks, output.logits, *(tensors[path] for path in self.paths)


@dataclass(frozen=True)
class Leaf:
    """A tensor of the state.

    path      where it stands in the state, `memory/S`
    initial   its value before the first frame
    grows     the axis that every frame makes longer, or None
    """

    path: str
    initial: Tensor
    grows: int | None

    @property
    def name(self) -> str:
        """The path with dots, `memory.S`."""
        return self.path.replace("/", ".")


@torch.no_grad()
def start(model: VideoModel, frame: Float[Tensor, "b c y x"], objects: int) -> tuple[Leaf, ...]:
    """The state before the first frame, tensor by tensor in order, in the shapes that a graph can keep."""
    size = (frame.shape[-2], frame.shape[-1])
    state = model.allocate(model.init_state(len(frame), objects, size=size), size)
    after = model.step(frame, state)[1].tensors()
    return tuple(
        Leaf(path, x.clone(memory_format=torch.contiguous_format), _growing(x, after[path]))
        for path, x in state.tensors().items()
    )


def _growing(before: Tensor, after: Tensor) -> int | None:
    return next((axis for axis in range(before.ndim) if before.shape[axis] == 0 < after.shape[axis]), None)
