"""One metric over a group of masks or clips: count, mean, spread, and an interval over patients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from memx.metrics.bootstrap import Interval, patient_bootstrap
from memx.metrics.rows import DISTANCE, OVERLAP, Row
from memx.metrics.temporal import CLIP_MEASURES, ClipCourse

Field = Literal["patient", "view", "phase", "frame"]
Group = tuple[tuple[str, str], ...]
GROUPINGS: tuple[tuple[Field, ...], ...] = (("view",), ("phase",), ("view", "phase"), ("patient",))
"""What `summaries.csv` and `scores.json` group by, besides the structure."""


@dataclass(frozen=True)
class Summary:
    """One metric over a group of masks, or of clips.

    by            what the group has in common, as (field, value) pairs: structure, and what else was asked for
    over          what `n` counts: masks or clips
    n             values in mean, sd and median; rows with one mask empty are among them
    n_both_empty  masks with nothing to find and nothing found; they have no value, unless the protocol gives them one
    n_one_empty   masks of which one of truth and prediction is empty; what they score, the protocol says. Both counts
                  are None over clips
    interval      of the mean, by drawing patients; None below two patients
    """

    by: Group
    metric: str
    unit: str
    n: int
    n_patients: int
    n_both_empty: int | None
    n_one_empty: int | None
    mean: float | None
    sd: float | None
    median: float | None
    interval: Interval | None
    over: Literal["masks", "clips"] = "masks"

    @property
    def structure(self) -> str:
        return dict(self.by)["structure"]

    def as_dict(self) -> dict[str, Any]:
        """As plain data, with the group's fields first."""
        return dict(self.by) | {name: value for name, value in asdict(self).items() if name != "by"}


@dataclass(frozen=True)
class Bootstrap:
    """How intervals of a mean are drawn: draws of patients (0: no interval), level and seed."""

    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    def interval(self, values: Sequence[float], patients: Sequence[str]) -> Interval | None:
        return patient_bootstrap(values, patients, draws=self.draws, level=self.level, seed=self.seed)


def summarise_masks(rows: Iterable[Row], by: Sequence[Field], bootstrap: Bootstrap) -> list[Summary]:
    """Every metric over the rows of each structure, split further by the fields named; units are kept apart."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple((name, str(getattr(row, name))) for name in ("structure", *by)), []).append(row)
    found: list[Summary] = []
    for key, members in groups.items():
        found += [_of_rows(key, metric, "", members, bootstrap) for metric in OVERLAP]
        for unit in sorted({row.unit for row in members}):
            alike = [row for row in members if row.unit == unit]
            found += [_of_rows(key, metric, unit, alike, bootstrap) for metric in DISTANCE]
    return found


def summarise_clips(courses: Iterable[ClipCourse], bootstrap: Bootstrap) -> list[Summary]:
    """Drift and roughness over the clips of each structure."""
    groups: dict[str, list[ClipCourse]] = {}
    for course in courses:
        groups.setdefault(course.structure, []).append(course)
    found: list[Summary] = []
    for structure, members in groups.items():
        for metric in CLIP_MEASURES:
            values = [(getattr(course, metric), course.patient) for course in members]
            unit = "1/frame" if metric == "dice_slope" else ""
            found.append(_summary((("structure", structure),), metric, unit, values, None, bootstrap, "clips"))
    return found


def dice_by_frame(courses: Iterable[ClipCourse], bootstrap: Bootstrap) -> list[Summary]:
    """Dice over time: of each structure and each frame from a clip's first, of the clips of which all were scored."""
    placed = [replace(row, frame=place) for course in courses for place, row in enumerate(course.rows)]
    rows = sorted(placed, key=lambda row: row.frame)
    return [item for item in summarise_masks(rows, ("frame",), bootstrap) if item.metric == "dice"]


def _of_rows(by: Group, metric: str, unit: str, rows: Sequence[Row], bootstrap: Bootstrap) -> Summary:
    return _summary(by, metric, unit, [(getattr(row, metric), row.patient) for row in rows], rows, bootstrap, "masks")


def _summary(
    by: Group,
    metric: str,
    unit: str,
    found: Sequence[tuple[float | None, str]],
    rows: Sequence[Row] | None,
    bootstrap: Bootstrap,
    over: Literal["masks", "clips"],
) -> Summary:
    kept = [(value, patient) for value, patient in found if value is not None]
    patients = [patient for _, patient in kept]
    values = np.array([value for value, _ in kept], dtype=np.float64)
    return Summary(
        by=by,
        metric=metric,
        unit=unit,
        n=len(kept),
        n_patients=len(set(patients)),
        n_both_empty=None if rows is None else sum(row.outcome == "both_empty" for row in rows),
        n_one_empty=None if rows is None else sum(row.outcome in ("prediction_empty", "truth_empty") for row in rows),
        mean=float(values.mean()) if len(kept) else None,
        sd=float(values.std(ddof=1)) if len(kept) > 1 else None,
        median=float(np.median(values)) if len(kept) else None,
        interval=bootstrap.interval(values.tolist(), patients),
        over=over,
    )
