"""Whether a clip on disk belongs to a run's data set, and its frames and masks as training takes them."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.data.clip import Case, Layout
from memx.data.dataset import ClipDataset
from memx.engine.datasets import find_root, make_layout
from memx.errors import DataError
from memx.recipe import Recipe

Batch = tuple[Float[Tensor, "1 t c y x"], Float[Tensor, "1 t o y x"], Bool[Tensor, "1 t"]]


def find_case(recipe: Recipe, path: Path) -> tuple[Layout, Case]:
    """The case of the run's data set that `path` is a file of, whatever its split.

    Raises DataError when the data set is not there, or `path` is none of its files.
    """
    layout = make_layout(recipe)
    root = find_root(recipe, layout)
    wanted = path.resolve()
    for case in layout.survey(root).cases:
        if any(file.resolve() == wanted for file in case.files.values()):
            return layout, case
    raise DataError(f"{path} is no clip of the run's data set ({root}), so its true masks are not known")


def as_in_training(recipe: Recipe, layout: Layout, case: Case) -> Batch:
    """Video, masks and supervised frames of a case as training takes them, not augmented, as a batch of one."""
    data = recipe.data
    items = ClipDataset(
        layout,
        [case],
        size=data.size,
        frames=data.frames,
        sampling=data.sampling,
        supervision=data.supervision,
        structures=data.structures,
        channels=data.channels,
        seed=recipe.seed,
        cache=False,
    )
    item = items[0]
    return item["video"].unsqueeze(0), item["masks"].unsqueeze(0), torch.as_tensor(item["supervised"]).unsqueeze(0)
