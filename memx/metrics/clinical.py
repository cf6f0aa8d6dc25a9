"""Volumes of the left ventricle from masks, end diastole and end systole, and the ejection fraction.

A figure never travels without the method that made it and its unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memx.errors import DataError
from memx.metrics.long_axis import Discs, discs, long_axis
from memx.metrics.surface import Spacing, check_spacing

BIPLANE = "Simpson biplane"
SINGLE_PLANE = "Simpson single-plane"
AREA_LENGTH = "area-length"
SQUARE_PIXELS = "no spacing: pixels are assumed square"
SAME_SCALE = "no spacing: pixels are assumed square and of one size in both views"


@dataclass(frozen=True)
class Volume:
    """A volume, its unit (`ml`, or `px³` where the spacing is unknown), the method, and what is odd about it."""

    value: float
    unit: str
    method: str
    note: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value < 0:
            raise ValueError(f"value is {self.value}; a volume is finite and not negative")


@dataclass(frozen=True)
class EjectionFraction:
    """An ejection fraction in percent, with both volumes, their unit, the method, and what is odd about it."""

    value: float
    edv: float
    esv: float
    method: str
    unit: str
    note: str = ""


class Phases(NamedTuple):
    """The frames, counted from 0, of end diastole and end systole."""

    ed: int
    es: int


def simpson_single(mask: ArrayLike, spacing: Spacing | None) -> Volume:
    """Volume by Simpson's method of discs from one apical view.

        V = π/4 Σ_i d_i² · h, 20 discs of diameter d_i and height h perpendicular to the long axis

    mask boolean (y, x), spacing (y, x) in mm or None; in ml, or px³ without spacing. An empty mask gives 0 and a note.
    Source: Lang et al., Recommendations for cardiac chamber quantification, J Am Soc Echocardiogr 28:1–39, 2015.
    """
    return volume_of_discs([discs(mask, spacing)], spacing)


def simpson_biplane(
    mask_2ch: ArrayLike, spacing_2ch: Spacing | None, mask_4ch: ArrayLike, spacing_4ch: Spacing | None
) -> Volume:
    """Volume by Simpson's biplane method of discs from the apical two- and four-chamber views.

        V = π/4 Σ_i a_i b_i · max(L₂, L₄) / 20, with the diameters a_i, b_i of disc i in the two views

    A difference of more than 10% between the two extents L₂ and L₄ goes into the note: one view is then likely
    foreshortened. Both spacings are known or neither is; else ValueError. An empty mask gives 0 and a note.
    Source: as `simpson_single`.
    """
    if (spacing_2ch is None) != (spacing_4ch is None):
        raise ValueError(f"spacing_2ch is {spacing_2ch} and spacing_4ch is {spacing_4ch}; give both or neither")
    return volume_of_discs([discs(mask_2ch, spacing_2ch), discs(mask_4ch, spacing_4ch)], spacing_2ch)


def volume_of_discs(views: Sequence[Discs | None], spacing: Spacing | None) -> Volume:
    """Simpson's volume of the discs of one view, or of the two- and the four-chamber view; None is an empty mask.

    What `simpson_single` and `simpson_biplane` give, for masks that are not kept. `spacing` says only whether the discs
    are in mm. Raises ValueError for another number of views.
    """
    if len(views) not in (1, 2):
        raise ValueError(f"views are {len(views)}; wants one, or the two- and the four-chamber view")
    method, assumed = (SINGLE_PLANE, SQUARE_PIXELS) if len(views) == 1 else (BIPLANE, SAME_SCALE)
    first, second = views[0], views[-1]
    if first is None or second is None:
        return _empty(method, spacing)
    extents = [len(cut.diameters) * cut.height for cut in (first, second)]
    value = math.pi / 4 * float(first.diameters @ second.diameters) * max(first.height, second.height)
    notes = [] if spacing else [assumed]
    apart = 100 * (1 - min(extents) / max(extents))
    if apart > 10:
        notes.append(f"the long axes of the two views differ by {apart:.0f}%")
    return _volume(value, method, spacing, "; ".join(notes))


def area_length(mask: ArrayLike, spacing: Spacing | None) -> Volume:
    """Volume by the area–length method from one apical view.

        V = 8 A² / (3 π L), with the cavity's area A and the length L of its long axis

    mask boolean (y, x), spacing (y, x) in mm or None; in ml, or px³ without spacing. An empty mask gives 0 and a note.
    Source: Dodge et al., Am Heart J 60:762–776, 1960.
    """
    scale = check_spacing(spacing)
    axis, cut = long_axis(mask, spacing), discs(mask, spacing, count=1)
    if axis is None or cut is None:
        return _empty(AREA_LENGTH, spacing)
    area = float(cut.diameters[0] * cut.height)
    value = 8 * area**2 / (3 * math.pi * max(axis.length, min(scale)))
    return _volume(value, AREA_LENGTH, spacing, "" if spacing else SQUARE_PIXELS)


def single_plane_volume(mask: ArrayLike, spacing: Spacing | None) -> Volume:
    """The volume that one view allows: Simpson's discs in ml where the spacing is known, else area–length in px³."""
    return area_length(mask, None) if spacing is None else simpson_single(mask, spacing)


def ejection_fraction(edv: Volume, esv: Volume) -> EjectionFraction:
    """Ejection fraction in percent.

        EF = 100 (EDV − ESV) / EDV

    It is a ratio, so volumes in px³ give it too. An ESV above the EDV gives a negative EF, and an ESV of 0 one of 100:
    both are returned with a note. Raises DataError for an EDV of 0, and ValueError for volumes of two methods or units.
    """
    if (edv.method, edv.unit) != (esv.method, esv.unit):
        raise ValueError(f"EDV is by {edv.method} in {edv.unit} and ESV by {esv.method} in {esv.unit}; use one method")
    if edv.value == 0:
        raise DataError(f"the end-diastolic volume by {edv.method} is 0: no cavity in the mask, so there is no EF")
    notes = list(dict.fromkeys(note for note in (edv.note, esv.note) if note))
    if esv.value > edv.value:
        notes.append("negative: the end-systolic volume is the larger one")
    value = 100 * (edv.value - esv.value) / edv.value
    return EjectionFraction(value, edv.value, esv.value, edv.method, edv.unit, "; ".join(notes))


def find_ed_es(values: Sequence[float] | NDArray[np.floating]) -> Phases | None:
    """End diastole and end systole: the largest and the smallest area or volume (t,) after light smoothing.

    Frames at 0 or NaN are missed, since a cavity is never empty: they are filled in linearly for the smoothing and are
    never chosen. Smoothing is (¼, ½, ¼) with the end frames repeated, which keeps a monotonic curve's ends. Ties go to
    the first frame. None where every frame is missed. Raises ValueError for negative values.
    """
    curve = np.asarray(values, dtype=np.float64)
    if curve.ndim != 1:
        raise ValueError(f"values has shape {curve.shape}; wants (t,)")
    if (curve < 0).any() or np.isinf(curve).any():
        raise ValueError("values must be finite and not negative: they are areas or volumes")
    seen = np.flatnonzero(curve > 0)
    if not len(seen):
        return None
    filled = np.interp(np.arange(len(curve)), seen, curve[seen])
    padded = np.pad(filled, 1, mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:])[seen] / 4
    return Phases(int(seen[np.argmax(smooth)]), int(seen[np.argmin(smooth)]))


def _volume(value: float, method: str, spacing: Spacing | None, note: str) -> Volume:
    return Volume(value, "px³", method, note) if spacing is None else Volume(value / 1000, "ml", method, note)


def _empty(method: str, spacing: Spacing | None) -> Volume:
    return _volume(0.0, method, spacing, "empty mask")
