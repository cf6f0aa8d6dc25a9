"""The contract of a video model: a clip at once, or frame by frame with a state; both run the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memx.memory.state import State
from memx.models.output import Output

if TYPE_CHECKING:
    from memx.models.optimize import Optimized

TOLERANCE = 1e-3
"""Largest difference of a probability that an optimised network may have."""


class VideoModel(nn.Module):
    """Segments clips, and streams.

    Constructor: `(in_channels: int, *, options…)`. In evaluation mode `forward` on a clip and `step` on its frames, one
    after another from `init_state`, give the same.
    """

    stride: int
    """Frames are padded below and at the right to multiples of it, and the memory's grid covers the padded frame.

    Set by models with such a grid; those without have no such attribute, and no map of tokens is drawn over a frame.
    """

    def forward(self, video: Float[Tensor, "b t c y x"], objects: int = 1, *, auxiliary: bool | None = None) -> Output:
        """Segment a whole clip, in [0, 1]. `auxiliary`: return the auxiliary logits; None: in training mode only."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def init_state(
        self,
        batch: int = 1,
        objects: int = 1,
        *,
        size: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """The state before the first frame."""
        raise NotImplementedError(f"{type(self).__name__} must define init_state")

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        """The state before the first frame in shapes that frames of `size` (height, width) leave as they are.

        For graphs, whose shapes are fixed. An axis that grows with every frame has length 0. The default is right where
        `init_state` with a size gives such a state.
        """
        return state

    def step(
        self, frame: Float[Tensor, "b c y x"], state: State, *, auxiliary: bool | None = None
    ) -> tuple[Output, State]:
        """Segment the next frame; returns its output and the state to go on with."""
        raise NotImplementedError(f"{type(self).__name__} must define step")

    def optimize(
        self,
        video: Float[Tensor, "b t c y x"],
        objects: int = 1,
        *,
        precision: str = "fp32",
        compile: bool = False,
        tolerance: float = TOLERANCE,
    ) -> Optimized:
        """The same network in the form that runs fastest where `video` is, held to this one's masks on it.

        `.model` of the result is this network where that was refused, and `.sentences()` say what was done or why not.
        A few frames like those that will be segmented are enough. See memx.models.optimize.
        """
        from memx.models.optimize import optimize

        return optimize(self, video, objects, precision=precision, compile=compile, tolerance=tolerance)
