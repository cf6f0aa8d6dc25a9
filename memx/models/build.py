"""From a recipe to a network."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from memx.encoders import no_pretrained
from memx.errors import RecipeError
from memx.models.base import VideoModel

if TYPE_CHECKING:
    from memx.recipe import Recipe


def build(recipe: Recipe, *, pretrained: bool = False) -> VideoModel:
    """The network that a recipe describes, with fresh weights drawn from torch's global generator.

    With `pretrained`, as training starts, encoders are filled with the `weights` that the recipe names; without, no
    weights are fetched or read.

    Raises RecipeError when dimensions do not fit together or nothing tells several structures apart, and
    CheckpointError when pretrained weights are wanted and cannot be had.
    """
    with nullcontext() if pretrained else no_pretrained():
        model = recipe.model(in_channels=recipe.data.channels)
    told_apart = getattr(model, "identities", recipe.objects) or 1
    if told_apart < recipe.objects:
        names = ", ".join(recipe.data.structures)
        raise RecipeError(
            f"recipe {recipe.name}: data.structures names {recipe.objects} ({names}), but no first mask is given and "
            f"the model cannot tell so many objects apart; set model.identities={recipe.objects}"
        )
    return model
