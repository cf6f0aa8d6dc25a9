"""What must hold for a clip of any layout, once it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from memx.data.check.facts import count_labels
from memx.data.check.posture import degrees_lying
from memx.data.check.problem import Problem, error, from_error, warning
from memx.data.clip import Case, Clip
from memx.data.faults import clip_faults

LV = "lv"
DARK = 1 / 8
"""A clip whose brightest pixel is below this share of the range was probably not scaled to it."""
OFF = 0.05
"""How much larger than at ED, or smaller than at ES, a ventricle in another labelled frame may be, as a share."""
_ANISOTROPY = 3.0
_FILE_AGAIN = "write the file again from its source"


def clip_problems(case: Case, clip: Clip, names: Mapping[int, str]) -> Iterator[Problem]:
    """What is wrong with pixels, labels, frames and numbers of a clip; `names` are the layout's label values."""
    faults = list(clip_faults(clip, case.id))
    for fault in faults:
        yield from from_error(fault, case)
    if not faults:
        yield from _pixels(case, clip)
    if not faults and clip.labels is not None and clip.labelled is not None:
        yield from _labels(case, clip, clip.labels, clip.labelled, names)
        yield from _phases(case, clip, clip.labels, clip.labelled, names)
        yield from _posture(case, clip, clip.labels, clip.labelled, names)
    yield from _numbers(case, clip)


def masks_of(case: Case) -> Path | str:
    """Where a case's labels come from: the file, the folder, or the case itself."""
    return next((file for role, file in case.files.items() if role in ("labels", "masks")), case.id)


def lv_value(names: Mapping[int, str]) -> int | None:
    """The label value of the left ventricle, or None where the layout names none."""
    return next((value for value, name in names.items() if name == LV), None)


def frames_in_words(places: list[int]) -> str:
    """`frame 3`, `frames 0, 3, 4`, or `9 frames (0, 3, 4, …)`."""
    shown = ", ".join(map(str, places[:3]))
    if len(places) == 1:
        return f"frame {shown}"
    return f"frames {shown}" if len(places) <= 3 else f"{len(places)} frames ({shown}, …)"


def _pixels(case: Case, clip: Clip) -> Iterator[Problem]:
    where, video = clip.source or case.id, clip.video
    flat = video.flatten(1)
    constant = (flat.amax(1) == flat.amin(1)).nonzero()[:, 0].tolist()
    if constant:
        count = "every frame" if len(constant) == len(clip) else f"{frames_in_words(constant)} of {len(clip)}"
        verb = "is" if len(constant) in (1, len(clip)) else "are"
        yield error(where, f"{count} {verb} one grey value throughout", _FILE_AGAIN, case)
    brightest = float(video.max())
    if len(constant) < len(clip) and brightest < DARK:
        what = f"its brightest pixel is at {100 * brightest:.2g}% of the range"
        yield warning(where, what, "make sure that its pixels were scaled to the whole range, as 0..255", case)
    if len(clip) == 1:
        yield warning(where, "has one frame only", "a memory has nothing to remember in it; leave it out", case)
    elif not constant:
        frozen = (flat[1:] == flat[:-1]).all(1).nonzero()[:, 0] + 1
        if len(frozen) == len(clip) - 1:
            yield error(where, f"all {len(clip)} frames are the same", _FILE_AGAIN, case)
        elif len(frozen):
            what = f"{frames_in_words(frozen.tolist())} repeats the one before"
            yield warning(where, what, "none if it was meant", case)


def _labels(case: Case, clip: Clip, labels: Tensor, labelled: Tensor, names: Mapping[int, str]) -> Iterator[Problem]:
    where = masks_of(case)
    where = (clip.source or where) if isinstance(where, str) else where
    frames = labelled.nonzero()[:, 0].tolist()
    strange = sorted(count_labels(labels[labelled]).keys() - names.keys()) if names else []
    if strange:
        yield error(where, f"label {_words(strange)} is unknown", f"map it to one of {_words(names)}", case)
    if len(frames) == 1 and len(clip) > 1:
        what = f"only {frames_in_words(frames)} of {len(clip)} is labelled"
        yield warning(where, what, "label a later one too: nothing says what should follow from the first", case)
    empty = [t for t in frames if not labels[t].any()]
    if len(empty) == len(frames):
        yield error(where, "every mask is empty", "draw them, or leave the clip out", case)
    elif empty and names:  # of a layout without names, an object may have left the picture
        lost = f"the mask of {frames_in_words(empty)} is empty"
        yield error(where, lost, "draw it, or remove the frame's mask so that it counts as unlabelled", case)
    for value, name in names.items():
        without = [t for t in frames if t not in empty and not (labels[t] == value).any()]
        if value != 0 and without and len(without) + len(empty) < len(frames):
            say = error if name == LV else warning
            what = f"no {name} (label {value}) in {frames_in_words(without)} of {len(frames)} labelled frames"
            yield say(where, what, "draw it where it can be seen", case)


def _phases(case: Case, clip: Clip, labels: Tensor, labelled: Tensor, names: Mapping[int, str]) -> Iterator[Problem]:
    where = case.files.get("info", clip.source or case.id)
    known = {"ED": clip.ed, "ES": clip.es}
    outside = {phase: t for phase, t in known.items() if t is not None and not 0 <= t < len(clip)}
    for phase, t in outside.items():
        yield error(where, f"{phase} is frame {t}, the clip has 0..{len(clip) - 1}", "give the right frame", case)
    if outside or clip.ed is None or clip.es is None:
        return
    if clip.ed == clip.es:
        yield error(where, f"ED and ES are both frame {clip.ed}", "they must differ: give the right frames", case)
    ventricle = lv_value(names)
    if ventricle is None or not (bool(labelled[clip.ed]) and bool(labelled[clip.es])):
        return
    areas = {t: int((labels[t] == ventricle).sum()) for t in labelled.nonzero()[:, 0].tolist()}
    ed, es = areas[clip.ed], areas[clip.es]
    if 0 < ed < es:
        what = f"the ventricle is larger in the ES frame ({es} pixels) than in the ED frame ({ed}): EDV < ESV"
        yield error(where, what, "swap ED and ES", case)
    elif min(areas.values()) > 0:
        most, least = max(areas, key=lambda t: areas[t]), min(areas, key=lambda t: areas[t])
        for phase, t, found, side, off in (
            ("ED", most, ed, "larger", areas[most] / ed - 1),
            ("ES", least, es, "smaller", 1 - areas[least] / es),
        ):
            if off > OFF:
                what = f"in frame {t} the ventricle is {100 * off:.0f}% {side} ({areas[t]} pixels) than at {phase}"
                yield warning(where, f"{what} ({found})", f"make sure that {phase} is the right frame", case)


def _posture(case: Case, clip: Clip, labels: Tensor, labelled: Tensor, names: Mapping[int, str]) -> Iterator[Problem]:
    ventricle, ed = lv_value(names), clip.ed
    if ventricle is None or ed is None or not 0 <= ed < len(clip) or not bool(labelled[ed]):
        return
    spacing = clip.spacing if clip.spacing and all(map(_positive, clip.spacing)) else None
    angle = degrees_lying((labels[ed] == ventricle).numpy(), spacing)
    if angle is not None:
        roles = ("labels", "ed_labels", "tracings")
        where = next((case.files[role] for role in roles if role in case.files), clip.source or case.id)
        what = f"the ventricle lies on its side, {angle:.0f}° from the vertical"
        remedy = "swap the axes of image and mask back, if they are swapped in either"
        place = case.id if "tracings" in case.files else ""
        yield error(where, f"{what}: are the axes of the image or the mask swapped?", remedy, case, place=place)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _numbers(case: Case, clip: Clip) -> Iterator[Problem]:
    where = clip.source or case.id
    if clip.spacing is not None:
        y, x = clip.spacing
        each = f"{y:.4g} × {x:.4g} mm (y × x)"
        if not (_positive(y) and _positive(x)):
            yield error(where, f"a pixel is {each}, which is no size", "write the true pixel size", case)
        elif max(y / x, x / y) > _ANISOTROPY:
            yield warning(where, f"a pixel is {each}: {max(y / x, x / y):.1f} to 1", "make sure it is meant so", case)
    if clip.fps is not None and not _positive(clip.fps):
        yield error(where, f"{clip.fps:g} frames a second", "give a positive number, or none", case)
    if clip.ef is not None and not 0 < clip.ef < 100:
        at = case.files.get("info") or case.files.get("list") or where
        yield error(at, f"an EF of {clip.ef:g}% for {case.id}", "an EF lies between 0 and 100: correct it", case)


def _words(values: Mapping[int, str] | list[int]) -> str:
    return ", ".join(map(str, values))
