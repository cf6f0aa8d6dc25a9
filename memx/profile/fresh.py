"""A network with fresh weights in the state of one that was trained a little: activations in range."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from memx.models.base import VideoModel


@torch.no_grad()
def settle(model: VideoModel, video: Float[Tensor, "b t c y x"], objects: int) -> None:
    """Let batch normalisation take its statistics from the video; the model is then in evaluation mode.

    With the statistics that it is built with, activations grow from layer to layer by many orders of magnitude, which
    no trained network does: rounding is then amplified as much, and two equal networks differ visibly. `video` has at
    least two clips, since a deepest map may be a single position.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all that is shown
    model.train()
    model(video, objects)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
