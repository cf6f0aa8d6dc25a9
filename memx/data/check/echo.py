"""What is odd about an echocardiogram that says so: its size in millimetres, and its EF beside that of its masks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from memx.data.check.clips import lv_value
from memx.data.check.problem import Problem, error, warning
from memx.data.clip import Case, Clip
from memx.metrics.clinical import BIPLANE, EjectionFraction, ejection_fraction
from memx.metrics.patient_ef import Cavity, cavity_volume, choose_views

_EXTENT = (40.0, 400.0)  # millimetres that an apical picture spans
_APART = {BIPLANE: 12.0}
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
    """What the EF needs of a view's masks at ED and ES, and the EF that the data set gives."""

    case: Case
    ed: Cavity
    es: Cavity
    ef: float


def ventricle(case: Case, clip: Clip, names: Mapping[int, str]) -> Ventricle | None:
    """The ventricle of a clip, or None where it has none at ED and ES or no EF is known."""
    value = lv_value(names)
    if value is None or clip.labels is None or clip.labelled is None or clip.ef is None:
        return None
    if clip.ed is None or clip.es is None or not 0 <= min(clip.ed, clip.es) <= max(clip.ed, clip.es) < len(clip):
        return None
    if len(clip.labels) != len(clip) or not (clip.labelled[clip.ed] and clip.labelled[clip.es]):
        return None
    if clip.spacing is not None and not all(math.isfinite(each) and each > 0 for each in clip.spacing):
        return None
    ed, es = ((clip.labels[t] == value).numpy() for t in (clip.ed, clip.es))
    if not (ed.any() and es.any()):
        return None
    return Ventricle(case, Cavity.of(ed, clip.spacing), Cavity.of(es, clip.spacing), clip.ef)


def measured(views: Sequence[Ventricle]) -> tuple[EjectionFraction, str]:
    """The EF by the masks of one patient, from the views and by the method that `memx eval` takes, and their name."""
    by_view = {view.case.view: view for view in views}
    chosen = choose_views({name: view.ed.spacing is not None for name, view in by_view.items()})
    used = [by_view[name] for name in chosen.names]
    found = ejection_fraction(cavity_volume([view.ed for view in used]), cavity_volume([view.es for view in used]))
    return found, chosen.method(found)


def far_from_masks(views: Sequence[Ventricle]) -> Iterator[Problem]:
    """A patient whose EF in the data set is far from that of the masks."""
    found, method = measured(views)
    case = views[0].case
    where = case.files.get("info") or case.files.get("list") or case.id
    if abs(found.value - views[0].ef) > _APART.get(found.method, _APART_IN_ONE_VIEW):
        what = f"the EF of {case.patient} is {views[0].ef:.0f}%, by its masks {found.value:.0f}% ({method})"
        yield warning(where, what, "compare masks, ED, ES and EF with the source", case)
