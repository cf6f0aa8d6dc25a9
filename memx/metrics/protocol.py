"""The protocol: how pairs of masks become scores, in words and in code."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from memx.errors import DataError
from memx.metrics.conventions import CONVENTIONS, Convention
from memx.metrics.pairs import Pair
from memx.metrics.patient_ef import patient_ejection_fraction
from memx.metrics.rows import Outcome, PatientEF, Phase, Row
from memx.metrics.scores import Scores
from memx.metrics.surface import check_spacing, surface_distances

_WORDS = """\
Every structure of every labelled frame that is scored is one mask pair, at the size and spacing of the truth.
{overlap}
The surface of a mask is its pixels with one of their four neighbours outside it or outside the image. \
HD95 is the larger of the two directed 95th percentiles, ASD the mean over the surface pixels of both masks. \
Distances run between pixel centres, in mm where the spacing is known and in px where it is not.
Both masks empty: {both_empty}, counted. One empty: {one_empty}, counted.
Means are over mask pairs, of each structure, and of each view, phase and patient. {intervals}
Where a clip was scored without a gap: Dice by frame; its drift, the least-squares slope of Dice against the frame; \
and the roughness of the area curve, its mean absolute second difference over its range. Means are over clips.
The ejection fraction is of {structure}, from the frames labelled ED and ES, by one method for truth and prediction: \
Simpson's biplane discs where the views 2CH and 4CH are there with their spacing, \
Simpson's discs of one view (4CH before 2CH) where one is, \
area-length in pixels, assumed square, where the spacing is unknown. Nothing predicted at ED or ES: missed, counted. \
Its error is against the EF of the true masks; \
over the cohort: mean absolute error, bias, SD, limits of agreement (bias ± 1.96 SD), Pearson's r and ICC(2,1), \
two-way random effects, absolute agreement, single measurement; {level:.0%} intervals by Student's t, Fisher's z and \
the F distribution."""
_INTERVALS = """\
Intervals are {level:.0%} percentile intervals of the mean from {draws} bootstrap draws of patients, seed {seed}."""


@dataclass(frozen=True)
class Protocol:
    """How pairs of masks become scores: every mask by itself, nothing dropped in silence, millimetres where known.

    ef_structure  the structure whose volumes give the ejection fraction
    draws, level, seed  of the patient-level bootstrap interval; 0 draws: no interval
    name          `memx-1`, or `gdkvm-release-2025` for the row-wise Dice and IoU of that release; all else is the same

    Raises ValueError for a name that there is not, fewer draws than 0, and a level outside 0 … 1.
    """

    ef_structure: str = "LV"
    draws: int = 2000
    level: float = 0.95
    seed: int = 0
    name: str = "memx-1"

    def __post_init__(self) -> None:
        if self.name not in CONVENTIONS:
            raise ValueError(f"there is no protocol {self.name!r}; there are: {', '.join(CONVENTIONS)}")
        if self.draws < 0 or not 0 < self.level < 1:
            raise ValueError(f"draws is {self.draws} and level {self.level}; wants 0 or more, and a share of 0 … 1")

    @property
    def convention(self) -> Convention:
        """How Dice and IoU are taken."""
        return CONVENTIONS[self.name]

    def describe(self) -> str:
        """What the protocol does, in words."""
        intervals = _INTERVALS.format(level=self.level, draws=self.draws, seed=self.seed)
        return _WORDS.format(
            overlap=self.convention.words,
            one_empty=self.convention.one_empty,
            both_empty=self.convention.both_empty,
            intervals=intervals if self.draws else "Means have no interval.",
            structure=self.ef_structure,
            level=self.level,
        )

    def score(self, pairs: Iterable[Pair]) -> Scores:
        """Score pairs of masks; they are taken one at a time, and only ED and ES of `ef_structure` are kept.

        Raises DataError naming patient, view, frame and structure for two shapes, masks that are not boolean, a mask of
        the clip on disk that comes twice, an unknown phase, and an empty set.
        """
        rows: list[Row] = []
        seen: set[tuple[str, str, str, int]] = set()
        phases: dict[str, dict[tuple[str, str], Pair]] = {}
        for pair in pairs:
            _check(pair)
            key = (pair.patient, pair.view, pair.structure, pair.on_disk)
            if key in seen:
                raise DataError(f"{pair.place}: comes twice; every mask is scored once")
            seen.add(key)
            rows.append(_row(pair, self.convention))
            if pair.structure == self.ef_structure and pair.phase != "other":
                found = phases.setdefault(pair.patient, {})
                if (pair.view, pair.phase) in found:
                    raise DataError(f"{pair.place}: a second {pair.phase} frame; a view has one")
                found[pair.view, pair.phase] = pair
        if not rows:
            raise DataError("there is no mask to score: the split has no labelled frame")
        cases = {patient: patient_ejection_fraction(patient, found) for patient, found in sorted(phases.items())}
        return Scores(
            protocol=self.name,
            description=self.describe(),
            rows=tuple(rows),
            ef=tuple(case for case in cases.values() if isinstance(case, PatientEF)),
            no_ef=tuple((patient, case) for patient, case in cases.items() if isinstance(case, str)),
            ef_structure=self.ef_structure,
            draws=self.draws,
            level=self.level,
            seed=self.seed,
        )


def _check(pair: Pair) -> None:
    for name, mask in (("prediction", pair.prediction), ("truth", pair.truth)):
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise DataError(
                f"{pair.place}: the {name} is {mask.dtype} of shape {mask.shape}; wants a boolean mask (y, x)"
            )
    if pair.prediction.shape != pair.truth.shape:
        raise DataError(
            f"{pair.place}: the prediction is {pair.prediction.shape} and the truth {pair.truth.shape}; "
            "resize the prediction to the truth's own size before scoring"
        )
    if pair.phase not in get_args(Phase):
        raise DataError(f"{pair.place}: unknown phase {pair.phase!r}; there are: {', '.join(get_args(Phase))}")


def _row(pair: Pair, convention: Convention) -> Row:
    predicted, true = bool(pair.prediction.any()), bool(pair.truth.any())
    outcomes: dict[tuple[bool, bool], Outcome] = {
        (True, True): "scored",
        (False, False): "both_empty",
        (False, True): "prediction_empty",
        (True, False): "truth_empty",
    }
    pixel = math.prod(check_spacing(pair.spacing))
    far = surface_distances(pair.prediction, pair.truth, pair.spacing)
    return Row(
        patient=pair.patient,
        view=pair.view,
        frame=pair.frame,
        clip_frame=pair.on_disk,
        phase=pair.phase,
        structure=pair.structure,
        outcome=outcomes[predicted, true],
        dice=convention.dice(pair.prediction, pair.truth),
        iou=convention.iou(pair.prediction, pair.truth),
        hd=far.hd if far else None,
        hd95=far.hd95 if far else None,
        asd=far.asd if far else None,
        unit="px" if pair.spacing is None else "mm",
        area_prediction=float(pair.prediction.sum() * pixel),
        area_truth=float(pair.truth.sum() * pixel),
    )
