"""Which views and which method give a patient's ejection fraction, and that of true and predicted masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from numpy.typing import ArrayLike

from memx.metrics.clinical import EjectionFraction, Volume, area_length, ejection_fraction, volume_of_discs
from memx.metrics.long_axis import Discs, discs
from memx.metrics.pairs import Pair
from memx.metrics.rows import PatientEF
from memx.metrics.surface import Spacing


class Views(NamedTuple):
    """The views that give a patient's volumes, `2CH` before `4CH` where they are two, and whether in millimetres."""

    names: tuple[str, ...]
    spaced: bool

    def method(self, found: EjectionFraction) -> str:
        """The method by its name, with the view where it is of one view."""
        return found.method if len(self.names) == 2 else " ".join(filter(None, (found.method, self.names[0])))


def choose_views(spaced: Mapping[str, bool]) -> Views:
    """The views out of a patient's, each with whether its spacing is known.

    Simpson's biplane discs of `2CH` and `4CH` where both have their spacing, Simpson's discs of one view where one has,
    area–length in pixels where none has; of several views the four-chamber view comes first, then the two-chamber one.
    Raises ValueError without views.
    """
    if not spaced:
        raise ValueError("a patient without views has no ejection fraction")
    known = sorted(view for view, has in spaced.items() if has)
    if {"2CH", "4CH"} <= set(known):
        return Views(("2CH", "4CH"), True)
    candidates = known or sorted(spaced)
    return Views((next((view for view in ("4CH", "2CH") if view in candidates), candidates[0]),), bool(known))


@dataclass(frozen=True)
class Cavity:
    """What is kept of a mask for any of the methods: its discs where the spacing is known, else its volume in px³."""

    cut: Discs | None
    spacing: Spacing | None
    unscaled: Volume | None

    @classmethod
    def of(cls, mask: ArrayLike, spacing: Spacing | None) -> Cavity:
        """Of a boolean mask (y, x) with its spacing (y, x) in mm, or None."""
        if spacing is None:
            return cls(None, None, area_length(mask, None))
        return cls(discs(mask, spacing), spacing, None)


def cavity_volume(views: Sequence[Cavity]) -> Volume:
    """The volume of one view, or of the two- and the four-chamber view in this order, both with their spacing."""
    if len(views) == 1 and views[0].unscaled is not None:
        return views[0].unscaled
    return volume_of_discs([view.cut for view in views], views[0].spacing)


def patient_ejection_fraction(patient: str, found: Mapping[tuple[str, str], Pair]) -> PatientEF | str:
    """The patient's ejection fractions, or why there are none."""
    both = [view for view in sorted({view for view, _ in found}) if {(view, "ED"), (view, "ES")} <= found.keys()]
    if not both:
        return "no view has both an ED and an ES frame"
    views = choose_views({view: all(found[view, phase].spacing for phase in ("ED", "ES")) for view in both})
    pairs = [[found[view, phase] for view in views.names] for phase in ("ED", "ES")]
    truth = [_volume([(pair.truth, pair.spacing) for pair in of_phase], views) for of_phase in pairs]
    guess = [_volume([(pair.prediction, pair.spacing) for pair in of_phase], views) for of_phase in pairs]
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
        method=views.method(reference),
        unit=reference.unit,
        edv_truth=truth[0].value,
        esv_truth=truth[1].value,
        edv_prediction=guess[0].value,
        esv_prediction=guess[1].value,
        note="; ".join(filter(None, notes)),
    )


def _volume(masks: Sequence[tuple[ArrayLike, Spacing | None]], views: Views) -> Volume:
    return cavity_volume([Cavity.of(mask, spacing if views.spaced else None) for mask, spacing in masks])
