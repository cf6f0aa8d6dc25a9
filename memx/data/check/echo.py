"""What is odd about an echocardiogram that says so: its size in millimetres, and its EF beside that of its masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memx.data.check.problem import Problem, error, warning
from memx.data.clip import Case, Clip
from memx.errors import DataError
from memx.metrics.clinical import EjectionFraction, ejection_fraction, simpson_biplane, single_plane_volume

_EXTENT = (40.0, 400.0)  # millimetres that an apical picture spans
_APART = {"Simpson biplane": 12.0}
_APART_IN_ONE_VIEW = 25.0  # a single plane stands for a ventricle that need not be round


def extent(case: Case, clip: Clip) -> Iterator[Problem]:
    """A missing pixel size, or one that makes the picture too large or too small for a heart."""
    where = clip.source or case.id
    if clip.spacing is None:
        yield warning(where, "has no pixel size", "distances and volumes will be in pixels; write it if known", case)
        return
    spans = [pixels * each for pixels, each in zip(clip.size, clip.spacing, strict=True)]
    if not all(_EXTENT[0] <= span <= _EXTENT[1] for span in spans):
        each = " × ".join(f"{s:.4g}" for s in clip.spacing)
        whole = " × ".join(f"{span:.0f}" for span in spans)
        what = f"a pixel of {each} mm makes the picture {whole} mm (y × x)"
        yield error(where, what, "write the true pixel size in millimetres", case)


@dataclass(frozen=True)
class Ventricle:
    """The two masks (y, x) of a view that its volumes stand on, and the EF that the data set gives."""

    case: Case
    ed: np.ndarray
    es: np.ndarray
    spacing: tuple[float, float] | None
    ef: float


def ventricle(case: Case, clip: Clip, names: Mapping[int, str]) -> Ventricle | None:
    """The ventricle of a clip, or None where it has none at ED and ES or no EF is known."""
    value = next((value for value, name in names.items() if name == "lv"), None)
    if value is None or clip.labels is None or clip.labelled is None or clip.ef is None:
        return None
    if clip.ed is None or clip.es is None or not 0 <= min(clip.ed, clip.es) <= max(clip.ed, clip.es) < len(clip):
        return None
    if len(clip.labels) != len(clip) or not (clip.labelled[clip.ed] and clip.labelled[clip.es]):
        return None
    ed, es = ((clip.labels[t] == value).numpy() for t in (clip.ed, clip.es))
    return Ventricle(case, ed, es, clip.spacing, clip.ef) if ed.any() and es.any() else None


def measured(views: Sequence[Ventricle]) -> EjectionFraction | None:
    """The EF by the masks of one patient: biplane where both views and their spacing are there, else by one view."""
    by_view = {view.case.view: view for view in views}
    try:
        two, four = by_view.get("2CH"), by_view.get("4CH")
        if two and four and two.spacing and four.spacing:
            edv, esv = (
                simpson_biplane(getattr(two, phase), two.spacing, getattr(four, phase), four.spacing)
                for phase in ("ed", "es")
            )
        else:
            view = views[0]
            edv, esv = (single_plane_volume(mask, view.spacing) for mask in (view.ed, view.es))
        return ejection_fraction(edv, esv)
    except DataError:  # no volume: the empty mask is a problem of its own
        return None


def far_from_masks(views: Sequence[Ventricle]) -> Iterator[Problem]:
    """A patient whose EF in the data set is far from that of the masks."""
    found, case = measured(views), views[0].case
    if found is None:
        return
    where = case.files.get("info") or case.files.get("list") or case.id
    if abs(found.value - views[0].ef) > _APART.get(found.method, _APART_IN_ONE_VIEW):
        what = f"the EF of {case.patient} is {views[0].ef:.0f}%, by its masks {found.value:.0f}% ({found.method})"
        yield warning(where, what, "compare masks, ED, ES and EF with the source", case)
