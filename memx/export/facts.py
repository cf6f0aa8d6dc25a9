"""What someone without memx has to know to run an exported step, as JSON inside the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from memx._version import __version__
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
               the shape) and `grows`, the axis that every frame makes longer, or null
    batch      null: the batch axis is open, and the first number of every shape may be another
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
                "initial": _initial(leaf.initial),
                "grows": leaf.grows,
            }
            for leaf in state
        ],
    }


def initial_state(facts: dict[str, Any], batch: int) -> list[np.ndarray]:
    """The state before the first frame, for so many clips, from the description alone."""
    return [np.full([batch, *leaf["shape"][1:]], leaf["initial"], leaf["dtype"]) for leaf in facts["state"]]


def _initial(x: Tensor) -> Any:
    """One number where all are the same, else those of one batch item; what is not finite as a word."""
    if x.numel() == 0:
        return 0
    first = x.flatten()[0]
    value = first.item() if bool((x == first).all()) else x[:1].tolist()
    return str(value) if value in (float("inf"), -float("inf")) else value
