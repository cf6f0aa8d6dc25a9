"""A run that a table needs: one recipe, one seed, an ordinary run folder named by what decides its weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
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

    def at(self, root: Path, fingerprint: str, scorings: Sequence[Scoring]) -> PlacedRun:
        """The run with its folder under `root`, and how it is to be scored."""
        return PlacedRun(self, root / self.name(fingerprint), tuple(scorings), fingerprint)


@dataclass(frozen=True)
class Scoring:
    """One evaluation of a run: `name` is that of its folder under `eval`, `overrides` say on which clips."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class PlacedRun:
    """A run, its folder, and the evaluations that a table needs of it, that of the training's own data first."""

    run: Run
    path: Path
    scorings: tuple[Scoring, ...]
    fingerprint: str

    def scores(self, scoring: Scoring) -> Path:
        """Where an evaluation leaves its scores."""
        return self.path / "eval" / scoring.name / "scores.json"

    @property
    def unscored(self) -> list[Scoring]:
        """The evaluations that have not been made, or were made by another protocol, or the first on other data."""
        return [scoring for scoring in self.scorings if not self._made(scoring)]

    def _made(self, scoring: Scoring) -> bool:
        scores = self.scores(scoring)
        if not scores.is_file():
            return False
        try:
            made = json.loads((scores.parent / "manifest.json").read_text(encoding="utf-8"))
            protocol, fingerprint = made.get("protocol", "memx-1"), made["data"]["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        on_own_data = scoring != self.scorings[0] or fingerprint == self.fingerprint
        return protocol == self.run.recipe.evaluate.protocol and on_own_data

    @property
    def stage(self) -> Stage:
        """How far it has come on disk."""
        if (self.path / "metrics.json").is_file():
            return "trained" if self.unscored else "scored"
        if (self.path / "last" / "training_state.pt").is_file():
            return "interrupted"
        return "to do"

    def commands(self, device: str) -> tuple[tuple[str, ...], ...]:
        """What is left to do, as memx commands."""
        me = (sys.executable, "-m", "memx")
        data = f"data.root={self.run.recipe.data.root}"
        where = ("--device", device)
        split = ("--split", self.run.recipe.evaluate.split)
        evaluate = [
            (*me, "eval", str(self.path), *scoring.overrides, *split, "--name", scoring.name, *where)
            for scoring in self.unscored
        ]
        match self.stage:
            case "scored" | "trained":
                return tuple(evaluate)
            case "interrupted":
                return ((*me, "train", "--resume", str(self.path), data, *where), *evaluate)
            case "to do":
                train = (*me, "train", self.run.base, *self.run.overrides, "--out", str(self.path), *where)
                return (train, *evaluate)

    def clear(self) -> None:
        """Remove what a run that never reached a checkpoint has left, so that it can start."""
        if self.stage == "to do" and (self.path / "recipe.yaml").is_file():
            shutil.rmtree(self.path)
