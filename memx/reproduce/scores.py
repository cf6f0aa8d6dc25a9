"""A run's scores, patient by patient, as `memx eval` wrote them, and which of them are of frames that were lost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memx.data.phantom.dataset import SUMMARY
from memx.errors import CheckpointError, DataError

BY_MASK = ("dice", "iou", "hd", "hd95", "asd")


@dataclass(frozen=True)
class PatientScores:
    """What an evaluation found of its first structure.

    values    metric → patient → mean over the patient's masks; masks empty on both sides are left out; `dice_lost` is
              of lost frames alone and has only the patients that have some
    unit      of distances
    ef        patient → (true, predicted) ejection fraction in percent
    method    of the ejection fraction
    missed    patients with a true but no predicted ejection fraction
    """

    structure: str
    protocol: str
    values: Mapping[str, Mapping[str, float]]
    unit: str
    ef: Mapping[str, tuple[float, float]]
    method: str
    missed: int

    @property
    def patients(self) -> int:
        return len(self.values["dice"])

    def of(self, metric: str) -> Mapping[str, float]:
        """Patient → figure; the absolute error in points for `ef`."""
        if metric == "ef":
            return {patient: abs(found - true) for patient, (true, found) in self.ef.items()}
        return self.values[metric]


Lost = frozenset[tuple[str, str, int]]
"""Patient, view and frame of the clip on disk, of every frame that lost contact."""


def read_lost(root: Path | None) -> Lost:
    """The lost frames of a data set: what a phantom says of itself in `memx.json`; empty for all other data."""
    summary = None if root is None else root / SUMMARY
    if summary is None or not summary.is_file():
        return frozenset()
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
        people = content["patients"]
        if content.get("lost") and not any("lost" in person for person in people):
            raise ValueError("frames are lost, and it does not say which")
        return frozenset(
            (person["name"], view, frame)
            for person in people
            for view, frames in person.get("lost", {}).items()
            for frame in frames
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{summary}: not the summary of a phantom ({type(error).__name__}: {error}); write the data set anew"
        ) from None


def read_scores(path: Path, lost: Lost = frozenset()) -> PatientScores:
    """Read `scores.json`. Raises CheckpointError where it is no evaluation's."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _parse(data, lost)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{path}: not the scores of `memx eval` ({type(error).__name__}: {error}); remove it and score the run anew"
        ) from None


def _parse(data: dict[str, Any], lost: Lost) -> PatientScores:
    structure = data["rows"][0]["structure"]
    rows = [row for row in data["rows"] if row["structure"] == structure]
    units = sorted({row["unit"] for row in rows})
    values = {metric: _by_patient(rows, metric) for metric in BY_MASK}
    of_lost = [r for r in rows if (r["patient"], r["view"], r["clip_frame"]) in lost] if lost else []
    values["dice_lost"] = _by_patient(of_lost, "dice")
    cases = data["ef"]["patients"]
    methods = sorted({case["method"] for case in cases})
    found = {c["patient"]: (c["truth"], c["prediction"]) for c in cases if c["prediction"] is not None}
    return PatientScores(
        structure=structure,
        protocol=data["protocol"]["name"],
        values=values,
        unit="/".join(units),
        ef=found,
        method=", ".join(methods),
        missed=len(cases) - len(found),
    )


def _by_patient(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row[metric] is not None:
            groups.setdefault(row["patient"], []).append(row[metric])
    return {patient: float(np.mean(group)) for patient, group in groups.items()}
