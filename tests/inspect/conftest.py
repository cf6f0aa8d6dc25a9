"""A tiny run of each kind of memory, trained once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from memx.recipe import Recipe


@pytest.fixture(scope="session")
def recipe_of(tiny: Callable[..., Recipe], phantom_root: Path) -> Callable[..., Recipe]:
    """The recipe of four steps with a memory and other overrides."""

    def make(memory: str = "gated_delta", *overrides: str) -> Recipe:
        words = ["model.refiner=null", "train.validate_every=0", f"model.memory={memory}"]
        return tiny(phantom_root, *words, *overrides)

    return make


@pytest.fixture(scope="session")
def run_of(recipe_of: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The run folder of such a recipe."""
    from memx.cli.training import run_training

    @cache
    def make(memory: str = "gated_delta", *overrides: str) -> Path:
        out = tmp_path_factory.mktemp("inspect") / memory
        run_training(recipe_of(memory, *overrides), out=out)
        return out

    return make


@pytest.fixture(scope="session")
def clip(phantom_root: Path) -> Path:
    """A labelled clip of the data set that the runs are trained on."""
    return sorted(phantom_root.glob("database_nifti/*/*_4CH_half_sequence.nii.gz"))[0]
