"""Measures of a whole clip: Dice over time and its drift, and how smoothly the area changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from memx.metrics.rows import Row

SHORTEST = 3
DEFINITIONS = {
    "dice_slope": "least-squares slope of Dice against the frame's number: change of Dice a frame",
    "roughness": "mean |a(t+1) − 2 a(t) + a(t−1)| over max a − min a, of the area a: 0 straight, 2 a zigzag",
}
CLIP_MEASURES = ("dice_slope", "roughness_prediction", "roughness_truth")


@dataclass(frozen=True)
class ClipCourse:
    """One structure through a clip of which every frame on disk from the first to the last scored one has a mask.

    rows                 frame by frame, as the model saw them; their areas are the area curves
    dice_slope           change of Dice a frame; None below 3 frames with a Dice
    roughness_prediction, roughness_truth  of the two area curves; None where the area does not change
    """

    structure: str
    patient: str
    view: str
    rows: tuple[Row, ...]
    dice_slope: float | None
    roughness_prediction: float | None
    roughness_truth: float | None

    @property
    def frames(self) -> list[int]:
        """In the clip on disk; they run backwards where the model was shown the clip backwards."""
        return [row.clip_frame for row in self.rows]

    @property
    def dice(self) -> list[float | None]:
        return [row.dice for row in self.rows]

    @property
    def area_prediction(self) -> list[float | None]:
        return [row.area_prediction for row in self.rows]

    @property
    def area_truth(self) -> list[float | None]:
        return [row.area_truth for row in self.rows]


def roughness(areas: Sequence[float]) -> float | None:
    """How far an area curve (t,) is from smooth, whatever its size.

        mean over t of |a_{t+1} − 2 a_t + a_{t−1}| / (max a − min a)

    0 for a straight line, 2 for a zigzag between two values, which is the most. It depends on the frame rate: compare
    clips sampled alike, or a prediction with its truth. None below 3 frames and for a constant area.
    """
    curve = np.asarray(areas, dtype=np.float64)
    if curve.ndim != 1 or not np.isfinite(curve).all():
        raise ValueError(f"areas is {curve.shape}; wants finite areas (t,)")
    span = float(np.ptp(curve)) if len(curve) else 0.0
    if len(curve) < SHORTEST or span == 0:
        return None
    return float(np.abs(np.diff(curve, 2)).mean()) / span


def slope(frames: Sequence[int], values: Sequence[float | None]) -> float | None:
    """Least-squares slope of values against frames, both (t,); values that are None are left out.

        Σ (t − t̄)(v_t − v̄) / Σ (t − t̄)²

    None below 3 values. Raises ValueError for two lengths and for a frame that comes twice.
    """
    if len(frames) != len(values) or len(set(frames)) != len(frames):
        raise ValueError(f"{len(frames)} frames and {len(values)} values; every frame comes once and has its value")
    kept = [(frame, value) for frame, value in zip(frames, values, strict=True) if value is not None]
    if len(kept) < SHORTEST:
        return None
    t, v = np.array(kept, dtype=np.float64).T
    return float((t - t.mean()) @ (v - v.mean()) / ((t - t.mean()) ** 2).sum())


def clip_courses(rows: Iterable[Row]) -> tuple[list[ClipCourse], int]:
    """The clips of which every frame was scored, structure by structure, and how many have gaps or under 3 frames.

    What counts is the clip on disk: a measure by frame means nothing where frames are skipped.
    """
    clips: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        clips.setdefault((row.structure, row.patient, row.view), []).append(row)
    courses, left_out = [], 0
    for key, members in clips.items():
        ordered = sorted(members, key=lambda row: row.frame)
        frames = [row.clip_frame for row in ordered]
        steps = {after - before for before, after in pairwise(frames)}
        if len(frames) < SHORTEST or steps not in ({1}, {-1}):
            left_out += 1
            continue
        courses.append(
            ClipCourse(
                *key,
                tuple(ordered),
                dice_slope=slope(range(len(frames)), [row.dice for row in ordered]),
                roughness_prediction=_roughness([row.area_prediction for row in ordered]),
                roughness_truth=_roughness([row.area_truth for row in ordered]),
            )
        )
    return courses, left_out


def _roughness(areas: Sequence[float | None]) -> float | None:
    known = [area for area in areas if area is not None]
    return roughness(known) if len(known) == len(areas) else None
