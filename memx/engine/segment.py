"""What evaluation, prediction and inspection share: a clip through a model, its output as masks of its own size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from memx.data.dataset import with_channels
from memx.data.streams import Stream, sector_box
from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.models.precision import inference_precision
from memx.recipe import Recipe

Box = tuple[int, int, int, int]
"""Rows and columns of a frame that the model is shown: top, bottom, left, right."""


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame of a clip on disk, as it is and as the model saw it.

    frame    (c, y, x) at the clip's own size, in [0, 1]
    labels   (y, x) at the clip's own size: 0 background, 1 … objects
    output   what the model returned at the recipe's size, a batch of one
    state    the model's state after the frame
    """

    frame: Float[Tensor, "c y x"]
    labels: Int[np.ndarray, "y x"]
    output: Output
    state: State


def shown_box(stream: Stream, crop: Literal["auto", "none"]) -> Box:
    """What a model is shown of a clip: with `auto` the ultrasound sector, as in training, else the whole frame."""
    return sector_box(stream) if crop == "auto" else (0, stream.size[0], 0, stream.size[1])


def segment_stream(
    model: VideoModel, recipe: Recipe, stream: Stream, box: Box, *, device: str = "cpu"
) -> Iterator[SegmentedFrame]:
    """Segment a clip on disk frame by frame, in constant memory, without gradients."""
    top, bottom, left, right = box
    state = model.init_state(1, recipe.objects, device=device)
    for frame in stream:
        with torch.no_grad(), inference_precision(device, recipe.train.precision):
            output, state = model.step(as_shown(frame, recipe, box).to(device), state)
            found = label_map(output.logits, (bottom - top, right - left))[0].cpu().numpy()
        labels = np.zeros(stream.size, dtype=np.int64)
        labels[top:bottom, left:right] = found
        yield SegmentedFrame(frame, labels, output, state)


def as_shown(frame: Float[Tensor, "c y x"], recipe: Recipe, box: Box) -> Float[Tensor, "1 c y x"]:
    """A frame of a clip on disk as the model sees it: its part within the box, at the recipe's size."""
    top, bottom, left, right = box
    image = with_channels(frame[None], recipe.data.channels)[..., top:bottom, left:right]
    return functional.interpolate(image, size=recipe.data.size, mode="bilinear", antialias=True).clamp(0, 1)


def first_frames(stream: Stream, recipe: Recipe, box: Box, count: int) -> Float[Tensor, "1 t c y x"]:
    """The first frames of a clip on disk as the model sees them, as a clip; fewer where the clip is shorter."""
    return torch.stack([as_shown(frame, recipe, box) for frame in islice(stream, count)], dim=1)


def label_map(logits: Float[Tensor, "n c y x"], size: tuple[int, int]) -> Int[Tensor, "n Y X"]:
    """The most probable of background (0) and objects (1 …) at every pixel of a frame of `size`.

    The probabilities, not the labels, are resized (bilinear), so that borders stay smooth.
    """
    probabilities = logits.float().softmax(dim=1)
    if probabilities.shape[-2:] != size:
        probabilities = functional.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)
    return probabilities.argmax(dim=1)
