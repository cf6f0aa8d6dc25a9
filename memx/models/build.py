"""From a recipe to a network, and from a run folder or a checkpoint file back to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from memx.recipe import Recipe


def build(recipe: Recipe) -> nn.Module:
    """The network that a recipe describes, with fresh weights drawn from torch's global generator.

    Raises RecipeError when dimensions do not fit together.
    """
    return recipe.model(in_channels=recipe.data.channels)


def load(path: str | Path, *, device: torch.device | str = "cpu") -> nn.Module:
    """The trained network of a run folder or of a `.safetensors` file, in evaluation mode.

    The recipe comes from the run folder, or from the file itself. No code is run but that of plug-ins that lie in the
    run folder. Raises CheckpointError when there is no checkpoint, or it does not fit its recipe.
    """
    from memx.engine.checkpoint import fill, load_checkpoint  # the engine builds models: imported late

    recipe, tensors = load_checkpoint(Path(path))
    model = build(recipe)
    fill(model, tensors, str(path))
    return model.to(device).eval()
