"""The ejection fraction of one patient, from the true and from the predicted masks at ED and ES."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memx.metrics.clinical import Volume, area_length, ejection_fraction, simpson_biplane, simpson_single
from memx.metrics.pairs import Pair
from memx.metrics.rows import PatientEF
from memx.metrics.surface import Spacing


def patient_ejection_fraction(patient: str, found: Mapping[tuple[str, str], Pair]) -> PatientEF | str:
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
    for phase, volume in zip(("ED", "ES"), truth, strict=True):
        if volume.value == 0:
            return f"the true mask at {phase} is empty"
    missed = [phase for phase, volume in zip(("ED", "ES"), guess, strict=True) if volume.value == 0]
    reference = ejection_fraction(truth[0], truth[1])
    prediction = None if missed else ejection_fraction(guess[0], guess[1])
    notes = [reference.note and f"truth: {reference.note}"]
    notes.append(f"prediction: {prediction.note}" if prediction and prediction.note else "")
    if missed:
        notes.append(f"prediction: empty at {' and '.join(missed)}")
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
