"""A recipe with values from a space put into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from memx.recipe import Recipe


def variant(recipe: Recipe, values: Mapping[str, Any], *, name: str | None = None) -> Recipe:
    """The recipe with path → value put in as overrides are, and without its `search:`.

    A mapping changes the component that stands there, unless it names another `type`, which replaces it whole.
    Raises RecipeError for what does not fit.
    """
    data = {key: value for key, value in recipe.dump().items() if key != "search"}
    words = [f"{path}={json.dumps(value)}" for path, value in values.items()]
    return Recipe.from_dict(data | ({"name": name} if name else {}), words)
