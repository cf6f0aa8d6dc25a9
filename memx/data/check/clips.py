"""What must hold for a clip of any layout, once it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from memx.data.check.facts import count_labels
from memx.data.check.problem import Problem, error, warning
from memx.data.clip import Case, Clip

_ANISOTROPY = 3.0
_FILE_AGAIN = "write the file again from its source"


def clip_problems(case: Case, clip: Clip, names: Mapping[int, str]) -> Iterator[Problem]:
    """What is wrong with pixels, labels, frames and numbers of a clip; `names` are the layout's label values."""
    where = clip.source or case.id
    yield from _pixels(case, clip)
    if clip.labels is None or clip.labelled is None:
        yield error(where, "has no labels", "add its masks; memx predict needs none", case)
    elif clip.labels.shape != (len(clip), *clip.size) or clip.labelled.shape != (len(clip),):
        shapes = f"labels of shape {tuple(clip.labels.shape)}, flags of shape {tuple(clip.labelled.shape)}"
        yield error(where, f"{shapes}, for {len(clip)} frames of {_size(clip)}", "mend the layout's load", case)
    else:
        yield from _labels(case, clip, clip.labels, clip.labelled, names)
        yield from _phases(case, clip, clip.labels, clip.labelled, names)
    yield from _numbers(case, clip)


def _pixels(case: Case, clip: Clip) -> Iterator[Problem]:
    where, video = clip.source or case.id, clip.video
    low, high = (float(value) for value in video.aminmax())
    if not (low >= 0 and high <= 1):
        yield error(where, f"pixels run from {low:g} to {high:g}, not in [0, 1]", _FILE_AGAIN, case)
        return
    flat = video.flatten(1)
    constant = (flat.amax(1) == flat.amin(1)).nonzero()[:, 0].tolist()
    if constant:
        count = "every frame" if len(constant) == len(clip) else f"{_frames(constant)} of {len(clip)}"
        verb = "is" if len(constant) in (1, len(clip)) else "are"
        yield error(where, f"{count} {verb} one grey value throughout", _FILE_AGAIN, case)
    if len(clip) == 1:
        yield warning(where, "has one frame only", "a memory has nothing to remember in it; leave it out", case)
    elif not constant:
        frozen = (flat[1:] == flat[:-1]).all(1).nonzero()[:, 0] + 1
        if len(frozen) == len(clip) - 1:
            yield error(where, f"all {len(clip)} frames are the same", _FILE_AGAIN, case)
        elif len(frozen):
            yield warning(where, f"{_frames(frozen.tolist())} repeats the one before", "none if it was meant", case)


def _labels(case: Case, clip: Clip, labels: Tensor, labelled: Tensor, names: Mapping[int, str]) -> Iterator[Problem]:
    where = next((file for role, file in case.files.items() if role in ("labels", "masks")), clip.source or case.id)
    frames = labelled.nonzero()[:, 0].tolist()
    if not frames:
        yield error(where, "no frame has a label", "label at least two frames, or leave the clip out", case)
        return
    if int(labels.min()) < 0:
        yield error(where, f"a label of {int(labels.min())}", "labels are 0, 1, 2, …: write it again", case)
        return
    strange = sorted(count_labels(labels[labelled]).keys() - names.keys()) if names else []
    if strange:
        yield error(where, f"label {_words(strange)} is unknown", f"map it to one of {_words(names)}", case)
    empty = [t for t in frames if not labels[t].any()]
    if empty:
        lost = f"the mask of {_frames(empty)} is empty"
        yield error(where, lost, "draw it, or remove the frame's mask so that it counts as unlabelled", case)
    for value, name in names.items():
        without = [t for t in frames if t not in empty and not (labels[t] == value).any()]
        if value != 0 and without:
            some = "all" if len(without) == len(frames) else f"{_frames(without)} of {len(frames)}"
            what = f"no {name} (label {value}) in {some} labelled frame{'s' * (len(frames) > 1)}"
            yield warning(where, what, "draw it where it can be seen", case)


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
    ventricle = next((value for value, name in names.items() if name == "lv"), None)
    if ventricle is not None and bool(labelled[clip.ed]) and bool(labelled[clip.es]):
        ed, es = (int((labels[t] == ventricle).sum()) for t in (clip.ed, clip.es))
        if 0 < ed < es:
            what = f"the ventricle is larger in the ES frame ({es} pixels) than in the ED frame ({ed}): EDV < ESV"
            yield error(where, what, "swap ED and ES", case)


def _numbers(case: Case, clip: Clip) -> Iterator[Problem]:
    where = clip.source or case.id
    if clip.spacing is not None:
        y, x = clip.spacing
        each = f"{y:.4g} × {x:.4g} mm (y × x)"
        if not (math.isfinite(y) and math.isfinite(x) and y > 0 and x > 0):
            yield error(where, f"a pixel is {each}, which is no size", "write the true pixel size", case)
        elif max(y / x, x / y) > _ANISOTROPY:
            yield warning(where, f"a pixel is {each}: {max(y / x, x / y):.1f} to 1", "make sure it is meant so", case)
    if clip.fps is not None and not (math.isfinite(clip.fps) and clip.fps > 0):
        yield error(where, f"{clip.fps:g} frames a second", "give a positive number, or none", case)
    if clip.ef is not None and not 0 < clip.ef < 100:
        at = case.files.get("info") or case.files.get("list") or where
        yield error(at, f"an EF of {clip.ef:g}% for {case.id}", "an EF lies between 0 and 100: correct it", case)


def _frames(places: list[int]) -> str:
    """`frame 3`, `frames 0, 3, 4`, or `9 frames (0, 3, 4, …)`."""
    shown = ", ".join(map(str, places[:3]))
    if len(places) == 1:
        return f"frame {shown}"
    return f"frames {shown}" if len(places) <= 3 else f"{len(places)} frames ({shown}, …)"


def _size(clip: Clip) -> str:
    return f"{clip.size[0]} × {clip.size[1]} pixels (y × x)"


def _words(values: Mapping[int, str] | list[int]) -> str:
    return ", ".join(map(str, values))
