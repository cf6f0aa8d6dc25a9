"""What is measured side by side: recipes by name or file, run folders and weights, each under a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memx.engine.checkpoint import load_checkpoint
from memx.engine.run import RunFolder
from memx.profile.run_dice import Dice, NoDice, read_dice
from memx.recipe import Recipe
from memx.recipe_source import shipped_recipes


@dataclass(frozen=True)
class Entry:
    """A recipe, and the Dice where it is a run's.

    label   what tables and figures call it
    source  what the user called it
    """

    label: str
    source: str
    recipe: Recipe
    dice: Dice | NoDice


def find_entries(sources: Sequence[str], overrides: Sequence[str] = ()) -> list[Entry]:
    """The recipes that the words name, after the overrides; without words those that travel with memx.

    Of runs and `.safetensors` files only the recipe is taken. What is named twice is there twice. Raises RecipeError
    and CheckpointError for what is none, or is not described by the recipe beside it.
    """
    sources = list(sources) or list(shipped_recipes())
    found = [_load(source, overrides) for source in sources]
    return [
        Entry(label, source, recipe, dice)
        for label, source, (recipe, dice) in zip(_labels(sources), sources, found, strict=True)
    ]


def _load(source: str, overrides: Sequence[str]) -> tuple[Recipe, Dice | NoDice]:
    path = Path(source)
    if path.is_dir():
        run = RunFolder.open(path)
        recipe = Recipe.load(run.path / "recipe.yaml", overrides)
        return recipe, read_dice(run, recipe)
    if path.suffix == ".safetensors":
        return load_checkpoint(path, overrides)[0], NoDice("weights without their run")
    return Recipe.load(source, overrides), NoDice("not trained")


def _labels(sources: Sequence[str]) -> list[str]:
    """The last part of each path; the whole of it where two are alike; numbered where the very same stands twice."""
    short = [Path(source).resolve().name.removesuffix(".yaml").removesuffix(".yml") for source in sources]
    several = Counter(short)
    names = [source if several[name] > 1 else name for name, source in zip(short, sources, strict=True)]
    labels: list[str] = []
    for name in names:
        label, times = name, 1
        while label in labels:
            times += 1
            label = f"{name} #{times}"
        labels.append(label)
    return labels
