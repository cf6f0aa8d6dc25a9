"""The protocol: how pairs of masks become scores, in words and in code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memx.errors import DataError
from memx.metrics.clinical import Volume, area_length, ejection_fraction, simpson_biplane, simpson_single
from memx.metrics.overlap import dice, iou
from memx.metrics.scores import Outcome, PatientEF, Phase, Row, Scores
from memx.metrics.surface import Spacing, surface_distances

_WORDS = """\
Every structure of every labelled frame is one mask pair, scored at the size and spacing of the truth.
Dice is 2|P∩T| / (|P|+|T|) and IoU is |P∩T| / |P∪T|, over the pixels of that one mask.
The surface of a mask is its pixels with one of their four neighbours outside it or outside the image. \
HD95 is the larger of the two directed 95th percentiles, ASD the mean over the surface pixels of both masks. \
Distances run between pixel centres, in mm where the spacing is known and in px where it is not.
Both masks empty: not applicable, left out and counted. \
One empty: Dice and IoU are 0 and distances are the diagonal of the field of view, counted.
Means are over mask pairs. Intervals are {level:.0%} percentile intervals of the mean from {draws} bootstrap draws of \
patients, seed {seed}.
The ejection fraction is of {structure}, from the frames labelled ED and ES, by one method for truth and prediction: \
Simpson's biplane discs where the views 2CH and 4CH are there with their spacing, \
Simpson's discs of one view (4CH before 2CH) where one is, \
area-length in pixels, assumed square, where the spacing is unknown. Its error is against the EF of the true masks."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A predicted and a true mask of one structure in one frame, at the truth's own size.

    prediction, truth  boolean (y, x)
    spacing            (y, x) millimetres a pixel of the truth, or None
    frame              0-based, among the frames that the model saw
    clip_frame         the same frame in the whole clip on disk; None: `frame`
    """

    prediction: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    spacing: Spacing | None
    patient: str
    view: str
    structure: str
    phase: Phase = "other"
    frame: int = 0
    clip_frame: int | None = None

    @property
    def place(self) -> str:
        return f"patient {self.patient or '?'}, view {self.view or '?'}, frame {self.frame}, {self.structure}"


def label_pairs(
    prediction: ArrayLike,
    truth: ArrayLike,
    structures: Mapping[str, int],
    *,
    spacing: Spacing | None,
    patient: str,
    view: str,
    phase: Phase = "other",
    frame: int = 0,
) -> Iterator[Pair]:
    """The pairs of one frame from two label maps (y, x), a pair for every named label value."""
    first, second = np.asarray(prediction), np.asarray(truth)
    for structure, value in structures.items():
        yield Pair(first == value, second == value, spacing, patient, view, structure, phase, frame)


@dataclass(frozen=True)
class Protocol:
    """memx's own protocol: every mask by itself, nothing dropped in silence, millimetres where they are known.

    ef_structure  the structure whose volumes give the ejection fraction
    draws, level, seed  of the patient-level bootstrap interval
    """

    ef_structure: str = "LV"
    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    name: ClassVar[str] = "memx-1"

    def describe(self) -> str:
        """What the protocol does, in words."""
        return _WORDS.format(level=self.level, draws=self.draws, seed=self.seed, structure=self.ef_structure)

    def score(self, pairs: Iterable[Pair]) -> Scores:
        """Score pairs of masks; they are taken one at a time, and only ED and ES of `ef_structure` are kept.

        Raises DataError naming patient, view, frame and structure for two shapes, masks that are not boolean, the same
        mask twice, an unknown phase, and an empty set.
        """
        rows: list[Row] = []
        seen: set[tuple[str, str, str, int]] = set()
        phases: dict[str, dict[tuple[str, str], Pair]] = {}
        for pair in pairs:
            _check(pair)
            key = (pair.patient, pair.view, pair.structure, pair.frame)
            if key in seen:
                raise DataError(f"{pair.place}: comes twice; every mask is scored once")
            seen.add(key)
            rows.append(_row(pair))
            if pair.structure == self.ef_structure and pair.phase != "other":
                found = phases.setdefault(pair.patient, {})
                if (pair.view, pair.phase) in found:
                    raise DataError(f"{pair.place}: a second {pair.phase} frame; a view has one")
                found[pair.view, pair.phase] = pair
        if not rows:
            raise DataError("there is no mask to score: the split has no labelled frame")
        cases = {patient: _ejection_fraction(patient, found) for patient, found in sorted(phases.items())}
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


def _row(pair: Pair) -> Row:
    predicted, true = bool(pair.prediction.any()), bool(pair.truth.any())
    outcomes: dict[tuple[bool, bool], Outcome] = {
        (True, True): "scored",
        (False, False): "both_empty",
        (False, True): "prediction_empty",
        (True, False): "truth_empty",
    }
    far = surface_distances(pair.prediction, pair.truth, pair.spacing)
    return Row(
        patient=pair.patient,
        view=pair.view,
        frame=pair.frame,
        clip_frame=pair.frame if pair.clip_frame is None else pair.clip_frame,
        phase=pair.phase,
        structure=pair.structure,
        outcome=outcomes[predicted, true],
        dice=dice(pair.prediction, pair.truth),
        iou=iou(pair.prediction, pair.truth),
        hd=far.hd if far else None,
        hd95=far.hd95 if far else None,
        asd=far.asd if far else None,
        unit="px" if pair.spacing is None else "mm",
    )


def _ejection_fraction(patient: str, found: Mapping[tuple[str, str], Pair]) -> PatientEF | str:
    """The patient's ejection fractions, or why there are none."""
    views = sorted({view for view, _ in found if {(view, "ED"), (view, "ES")} <= found.keys()})
    if not views:
        return "no view has both an ED and an ES frame"
    spaced = [view for view in views if found[view, "ED"].spacing and found[view, "ES"].spacing]
    if {"2CH", "4CH"} <= set(spaced):
        used = ("2CH", "4CH")
    else:
        candidates = spaced or views
        used = (next((view for view in ("4CH", "2CH") if view in candidates), candidates[0]),)
    pairs = [[found[view, phase] for view in used] for phase in ("ED", "ES")]
    scaled = used[0] in spaced
    truth = [_volume([(pair.truth, pair.spacing) for pair in both], scaled) for both in pairs]
    guess = [_volume([(pair.prediction, pair.spacing) for pair in both], scaled) for both in pairs]
    if truth[0].value == 0:
        return "the true mask at ED is empty"
    reference = ejection_fraction(truth[0], truth[1])
    prediction = ejection_fraction(guess[0], guess[1]) if guess[0].value > 0 else None
    notes = [reference.note and f"truth: {reference.note}"]
    notes.append(f"prediction: {prediction.note}" if prediction and prediction.note else "")
    if prediction is None:
        notes.append("prediction: empty at ED")
    return PatientEF(
        patient=patient,
        truth=reference.value,
        prediction=prediction.value if prediction else None,
        method=reference.method if len(used) == 2 else " ".join(filter(None, (reference.method, used[0]))),
        unit=reference.unit,
        edv_truth=truth[0].value,
        esv_truth=truth[1].value,
        edv_prediction=guess[0].value,
        esv_prediction=guess[1].value,
        note="; ".join(filter(None, notes)),
    )


def _volume(masks: list[tuple[NDArray[np.bool_], Spacing | None]], scaled: bool) -> Volume:
    """Of one view, or of the two- and the four-chamber view in this order; in pixels unless `scaled`."""
    if len(masks) == 2:
        return simpson_biplane(*masks[0], *masks[1])
    return simpson_single(*masks[0]) if scaled else area_length(masks[0][0], None)
