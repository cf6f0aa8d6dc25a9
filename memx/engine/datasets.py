"""Data sets as a recipe's `data:` section says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memx.data.clip import Case, Layout
from memx.data.dataset import ClipDataset
from memx.data.fingerprint import fingerprint
from memx.errors import DataError
from memx.recipe import Recipe
from memx.registry import build_part


def make_layout(recipe: Recipe) -> Layout:
    """The reader that the recipe names."""
    return build_part(recipe.data.layout)


def find_root(recipe: Recipe, layout: Layout) -> Path:
    """The data set's folder; when the recipe names none, an error says where the data comes from."""
    if recipe.data.root is None:
        raise DataError(f"recipe {recipe.name}: data.root is not set. {layout.source}".strip())
    return recipe.data.root.expanduser()


def find_cases(recipe: Recipe, split: str | None) -> tuple[Layout, list[Case]]:
    """Reader and cases of one split."""
    layout = make_layout(recipe)
    return layout, layout.cases(find_root(recipe, layout), split)


def training_set(recipe: Recipe) -> ClipDataset:
    """The reproducible stream of training clips, as long as the run."""
    layout, cases = find_cases(recipe, "train")
    data = recipe.data
    return ClipDataset(
        layout,
        cases,
        size=data.size,
        frames=data.frames,
        sampling=data.sampling,
        supervision=data.supervision,
        structures=data.structures,
        augment=[build_part(t) for t in data.augment],
        channels=data.channels,
        cache=data.cache,
        seed=recipe.seed,
        draws=recipe.train.iterations * recipe.train.batch,
    )


def data_record(recipe: Recipe) -> dict[str, Any]:
    """What the manifest says of the data: where it was, how many cases, and a fingerprint of its files."""
    layout, cases = find_cases(recipe, None)
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.split] = counts.get(case.split, 0) + 1
    return {"root": str(recipe.data.root), "cases": counts, "fingerprint": fingerprint(layout, cases)}
