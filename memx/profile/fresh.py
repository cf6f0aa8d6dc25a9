"""A network with fresh weights in the state of one that was trained a little: activations in range."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memx.models.base import VideoModel


@torch.no_grad()
def settle(model: VideoModel, video: Float[Tensor, "b t c y x"], objects: int) -> None:
    """Let batch normalisation take its statistics from the video; the model is then in evaluation mode.

    With the statistics that it is built with, activations grow from layer to layer by many orders of magnitude, which
    no trained network does: rounding is then amplified as much, and two equal networks differ visibly.
    """
    model.train()
    for _ in range(3):
        model(video, objects)
    model.eval()
