"""The Dice of a run, as the run itself keeps it: of its test patients, else of those that chose its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from memx.engine.run import RunFolder
from memx.errors import CheckpointError
from memx.metrics.bootstrap import patient_bootstrap
from memx.recipe import Recipe

Found = TypeVar("Found")
Split = Literal["test", "val"]
SPLITS: tuple[Split, ...] = ("test", "val")


@dataclass(frozen=True)
class Dice:
    """A mean Dice over masks, of all structures together.

    title     what its protocol calls it, so that a row-wise Dice is never just a Dice
    interval  of the mean, by drawing patients; None where the run keeps no scores of single patients
    level     of that interval
    patients  how many there are; None where the run does not say
    data      fingerprint of the data set; two Dice of different data do not compare
    file      where it stands, within the run
    """

    mean: float
    split: Split
    title: str
    file: str
    interval: tuple[float, float] | None = None
    level: float | None = None
    patients: int | None = None
    data: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class NoDice:
    """Why there is none."""

    reason: str


def read_dice(run: RunFolder, recipe: Recipe) -> Dice | NoDice:
    """The run's Dice, where it is one of the network that `recipe` describes.

    The test patients' (`eval/test`) comes first, then the validation patients' (`eval/val`), then the best that
    training saw, which has no interval. One that was taken with other options than the recipe's is none of it. Raises
    CheckpointError for a file that is not what memx wrote.
    """
    other = ""
    for split in SPLITS:
        folder = run.path / "eval" / split
        if not (folder / "scores.json").is_file():
            continue
        scored, data = _read(folder / "manifest.json", _manifest)
        if scored == recipe.hash:
            return _read(folder / "scores.json", partial(_of_scores, split=split, data=data))
        other = other or f"eval/{split} was scored as recipe {scored}; this is {recipe.hash}"
    if recipe.hash != run.recipe.hash:
        return NoDice(f"the run is of recipe {run.recipe.hash}; this is {recipe.hash}")
    if (run.path / "metrics.json").is_file():
        _, data = _read(run.path / "manifest.json", _manifest)
        best = _read(run.path / "metrics.json", _best)
        if best is not None:
            return Dice(best, "val", "Dice", "metrics.json", data=data)
    return NoDice(other or "not scored")


def _manifest(data: dict[str, Any]) -> tuple[str, str | None]:
    """Hash of the recipe, and fingerprint of the data."""
    return data["recipe_hash"], data["data"].get("fingerprint")


def _best(data: dict[str, Any]) -> float | None:
    values = [float(value) for value in data["validation_dice"].values()]
    return max(values) if values else None


def _of_scores(scores: dict[str, Any], *, split: Split, data: str | None) -> Dice | NoDice:
    rows = [row for row in scores["rows"] if row["dice"] is not None]
    if not rows:
        return NoDice(f"eval/{split} has no mask to score")
    values, patients = [row["dice"] for row in rows], [row["patient"] for row in rows]
    drawn = scores["interval"]
    return Dice(
        mean=float(np.mean(values)),
        split=split,
        title=scores["titles"]["dice"],
        file=f"eval/{split}/scores.json",
        interval=patient_bootstrap(values, patients, draws=drawn["draws"], level=drawn["level"], seed=drawn["seed"]),
        level=drawn["level"],
        patients=len(set(patients)),
        data=data,
    )


def _read(path: Path, parse: Callable[[dict[str, Any]], Found]) -> Found:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not what memx wrote there ({type(error).__name__}: {error}); remove it, or score the run anew by "
            "`memx eval`"
        ) from None
