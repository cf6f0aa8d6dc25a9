"""From a recipe to a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memx.errors import RecipeError
from memx.models.base import VideoModel

if TYPE_CHECKING:
    from memx.recipe import Recipe


def build(recipe: Recipe) -> VideoModel:
    """The network that a recipe describes, with fresh weights drawn from torch's global generator.

    Raises RecipeError when dimensions do not fit together or nothing tells several structures apart, and
    CheckpointError when pretrained weights that the recipe names cannot be had.
    """
    model = recipe.model(in_channels=recipe.data.channels)
    told_apart = getattr(model, "identities", recipe.objects) or 1
    if told_apart < recipe.objects:
        names = ", ".join(recipe.data.structures)
        raise RecipeError(
            f"recipe {recipe.name}: data.structures names {recipe.objects} ({names}), but no first mask is given and "
            f"the model cannot tell so many objects apart; set model.identities={recipe.objects}"
        )
    return model
