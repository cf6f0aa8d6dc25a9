"""A run that a table needs: one recipe, one seed, an ordinary run folder named by what decides its weights."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memx.recipe import Recipe

Stage = Literal["scored", "trained", "interrupted", "to do"]


@dataclass(frozen=True)
class Run:
    """A recipe with its seed; `base` and `overrides` are the words that made it.

    Rows of any table whose recipes are alike in what decides the weights share a run.
    """

    base: str
    overrides: tuple[str, ...]
    recipe: Recipe

    @property
    def seed(self) -> int:
        return self.recipe.seed

    def name(self, fingerprint: str) -> str:
        """Of its folder: the recipe's hash, six digits of the data's fingerprint, the seed, and how often it validates.

        The last is not in the hash, since it does not change training; but of the weights the best validated are kept.
        """
        return f"{self.recipe.hash}_{fingerprint[:6]}_seed{self.seed}_val{self.recipe.train.validate_every}"

    def at(self, root: Path, fingerprint: str) -> PlacedRun:
        """The run with its folder under `root`."""
        return PlacedRun(self, root / self.name(fingerprint))


@dataclass(frozen=True)
class PlacedRun:
    """A run and its folder."""

    run: Run
    path: Path

    @property
    def split(self) -> str:
        return self.run.recipe.evaluate.split

    @property
    def scores(self) -> Path:
        return self.path / "eval" / self.split / "scores.json"

    @property
    def stage(self) -> Stage:
        """How far it has come on disk."""
        if (self.path / "metrics.json").is_file():
            return "scored" if self.scores.is_file() else "trained"
        if (self.path / "last" / "training_state.pt").is_file():
            return "interrupted"
        return "to do"

    def commands(self, device: str) -> tuple[tuple[str, ...], ...]:
        """What is left to do, as memx commands."""
        me = (sys.executable, "-m", "memx")
        data = f"data.root={self.run.recipe.data.root}"
        where = ("--device", device)
        evaluate = (*me, "eval", str(self.path), data, "--split", self.split, *where)
        match self.stage:
            case "scored":
                return ()
            case "trained":
                return (evaluate,)
            case "interrupted":
                return ((*me, "train", "--resume", str(self.path), data, *where), evaluate)
            case "to do":
                train = (*me, "train", self.run.base, *self.run.overrides, "--out", str(self.path), *where)
                return (train, evaluate)

    def clear(self) -> None:
        """Remove what a run that never reached a checkpoint has left, so that it can start."""
        if self.stage == "to do" and (self.path / "recipe.yaml").is_file():
            shutil.rmtree(self.path)
