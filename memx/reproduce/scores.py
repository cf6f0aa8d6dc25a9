"""A run's scores, patient by patient, as `memx eval` wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memx.errors import CheckpointError

BY_MASK = ("dice", "iou", "hd", "hd95", "asd")


@dataclass(frozen=True)
class PatientScores:
    """What an evaluation found of its first structure.

    values    metric → patient → mean over the patient's masks; masks empty on both sides are left out
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


def read_scores(path: Path) -> PatientScores:
    """Read `scores.json`. Raises CheckpointError where it is no evaluation's."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _parse(data)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{path}: not the scores of `memx eval` ({type(error).__name__}: {error}); remove it and score the run anew"
        ) from None


def _parse(data: dict[str, Any]) -> PatientScores:
    structure = data["rows"][0]["structure"]
    rows = [row for row in data["rows"] if row["structure"] == structure]
    units = sorted({row["unit"] for row in rows})
    values: dict[str, dict[str, float]] = {}
    for metric in BY_MASK:
        groups: dict[str, list[float]] = {}
        for row in rows:
            if row[metric] is not None:
                groups.setdefault(row["patient"], []).append(row[metric])
        values[metric] = {patient: float(np.mean(group)) for patient, group in groups.items()}
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
