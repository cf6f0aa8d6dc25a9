"""What someone without memx has to know to run an exported step, as JSON inside the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from memx._version import __version__
from memx.errors import UserError
from memx.export.step import NEXT, Leaf
from memx.recipe import Recipe

KEY = "memx"
"""The entry of the file's metadata that holds the JSON."""


def describe(
    recipe: Recipe, state: Sequence[Leaf], *, size: tuple[int, int], batch: int | None, objects: int
) -> dict[str, Any]:
    """Inputs, outputs and initial state of an exported step.

    frame      name, shape and dtype of the picture: values in 0 … 1, normalised by the graph itself
    masks      (b o y x): probability of every object at every pixel
    logits     (b o+1 y x): over background (0) and objects; their arg-max is the label map
    state      in the order of the inputs after the frame and of the outputs after the logits, for each tensor `name`,
               `next` (its name as an output), `shape`, `dtype`, `initial` (a number, or nested lists that broadcast to
               the shape; an infinity is the word `inf` or `-inf`) and `grows`, the axis that every frame makes longer,
               or null
    batch      null: the batch axis is open, and the first number of every shape may be another

    Raises UserError for a state that begins with NaN.
    """
    rows = 1 if batch is None else batch
    height, width = size
    return {
        "memx": __version__,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "structures": recipe.data.structures,
        "batch": batch,
        "objects": objects,
        "frame": {
            "name": "frame",
            "shape": [rows, recipe.data.channels, height, width],
            "dtype": "float32",
            "range": [0, 1],
        },
        "masks": {"name": "masks", "shape": [rows, objects, height, width], "dtype": "float32"},
        "logits": {"name": "logits", "shape": [rows, objects + 1, height, width], "dtype": "float32"},
        "state": [
            {
                "name": leaf.name,
                "next": NEXT + leaf.name,
                "shape": [rows, *leaf.initial.shape[1:]],
                "dtype": str(leaf.initial.dtype).removeprefix("torch."),
                "initial": _initial(leaf),
                "grows": leaf.grows,
            }
            for leaf in state
        ],
    }


def initial_state(facts: dict[str, Any], batch: int) -> list[np.ndarray]:
    """The state before the first frame, for so many clips, from the description alone."""
    return [np.full([batch, *leaf["shape"][1:]], leaf["initial"], leaf["dtype"]) for leaf in facts["state"]]


def _initial(leaf: Leaf) -> Any:
    """One number where all are the same, else those of one batch item; an infinity as the word `inf` or `-inf`."""
    x = leaf.initial
    if x.numel() == 0:
        return 0
    if bool(x.isnan().any()):
        raise UserError(f"the model's state begins with NaN in {leaf.name}, from which no frame can be computed")
    first = x.flatten()[0]
    return _words(first.item() if bool((x == first).all()) else x[:1].tolist())


def _words(value: Any) -> Any:
    """Nested lists with infinities, which JSON lacks, as words; NumPy reads them as numbers."""
    if isinstance(value, list):
        return [_words(x) for x in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value
