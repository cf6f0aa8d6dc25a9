"""CAMUS's half sequence against its still frames of ED and ES: each says whether the other is what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memx.data.camus_image import read_stored
from memx.data.camus_info import Info
from memx.data.check.problem import Problem, error, from_error, warning
from memx.data.clip import Case, Clip
from memx.errors import DataError

_SIDE = 256  # pixels of the longer side that are compared: larger pictures are thinned out
_CLEARLY = 0.5  # another frame is the still's when it is nearer than this share of the right frame's distance
_LV = 1  # the label value of the left ventricle in CAMUS
_SAME_LV = 0.8  # ventricles that overlap by less (IoU) are not drawn alike
_OTHER_LV = 0.5  # those that overlap by less are wrong in one of both
_AS_IT_IS = "as it is"
_TURNED = {
    _AS_IT_IS: (slice(None), slice(None)),
    "turned left to right": (slice(None), slice(None, None, -1)),
    "turned upside down": (slice(None, None, -1), slice(None)),
    "turned by 180°": (slice(None, None, -1), slice(None, None, -1)),
}


@dataclass(frozen=True)
class _Kind:
    """How two pictures, or two masks, are told apart.

    apart     how far one is from the other
    same      up to this distance they are the same
    match     up to this distance another frame, or a turned one, is the one that was meant
    stranger  above this one they have nothing to do with each other
    """

    name: str
    apart: Callable[[NDArray, NDArray], float]
    same: float
    match: float
    stranger: float


def _grey_levels(one: NDArray, other: NDArray) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


def _unlike_labels(one: NDArray, other: NDArray) -> float:
    """The share of the pixels labelled in either mask whose labels differ."""
    either = (one > 0) | (other > 0)
    return float((one != other)[either].mean()) if either.any() else 0.0


_PICTURE = _Kind("picture", _grey_levels, same=0.5, match=2.0, stranger=10.0)
_MASK = _Kind("mask", _unlike_labels, same=0.1, match=0.1, stranger=0.5)


def against_stills(case: Case, clip: Clip, stills: Mapping[str, Path]) -> Iterator[Problem]:
    """The ED and ES frames of a sequence, and their masks, against the still frames.

    stills  the files `ed_video`, `ed_labels`, `es_video` and `es_labels`; what is missing is passed over

    Where one of both is right this finds sequences that run the other way, a wrong ED or ES, and flips. Grey levels
    are compared in the mean over the picture, labels over the pixels that have one.
    """
    if clip.ed is None or clip.es is None:
        return
    phases = {"ED": clip.ed, "ES": clip.es}
    yield from _compare(case, phases, _PICTURE, case.files["video"], (clip.video[:, 0] * 255).numpy(), stills)
    if "labels" in case.files and clip.labels is not None:
        yield from _compare(case, phases, _MASK, case.files["labels"], clip.labels.numpy(), stills)


def _compare(
    case: Case, phases: Mapping[str, int], kind: _Kind, file: Path, frames: NDArray, stills: Mapping[str, Path]
) -> Iterator[Problem]:
    found: dict[str, tuple[str, int]] = {}
    strangers: list[str] = []
    odd: dict[str, tuple[Path, tuple[int, ...]]] = {}
    overlaps: dict[str, float] = {}
    for phase, t in phases.items():
        still = stills.get(f"{phase.lower()}_{'video' if kind is _PICTURE else 'labels'}")
        if still is None or not still.is_file():
            continue
        try:
            pixels = read_stored(still, 2).pixels
        except DataError as raised:
            yield from from_error(raised, case)
            continue
        if pixels.shape != frames.shape[1:]:
            odd[phase] = still, pixels.shape
            continue
        distance, turned, nearest = _nearest(pixels, frames, t, kind)
        if (turned, nearest) != (_AS_IT_IS, t):
            found[phase] = turned, nearest
            continue
        if distance > kind.stranger:
            strangers.append(phase)
        if kind is _MASK and (share := _overlap(pixels == _LV, frames[t] == _LV)) < _SAME_LV:
            overlaps[phase] = share
    strangers = [phase for phase in strangers if phase not in overlaps]
    yield from _of_other_sizes(case, file, frames.shape[1:], odd)
    yield from _of_other_ventricles(case, file, overlaps)
    if strangers:
        what = f"the {kind.name} of its {' and '.join(strangers)} frame is not like the still"
        yield warning(file, what, "compare both: they should be the same", case)
    yield from _told(case, len(frames), kind, file, phases, found)


def _of_other_sizes(
    case: Case, file: Path, size: tuple[int, ...], odd: Mapping[str, tuple[Path, tuple[int, ...]]]
) -> Iterator[Problem]:
    """Stills of another size than their sequence; where that of all is the sequence's with y and x exchanged, once."""
    remedy = "swap them back: both are of one acquisition"
    if len(odd) == 2 and {still for _, still in odd.values()} == {size[::-1]} != {size}:
        what = f"is {_size(size)} pixels (y × x), its stills {_size(size[::-1])}: the axes of the sequence are swapped"
        yield error(file, what, remedy, case)
        return
    for still, shape in odd.values():
        what = f"is {_size(shape)} pixels (y × x), the sequence {_size(size)}"
        if shape == size[::-1]:
            yield error(still, f"{what}: the axes of the still are swapped", remedy, case)
        else:
            yield error(still, what, "copy the patient again: both are of one acquisition", case)


def _of_other_ventricles(case: Case, file: Path, overlaps: Mapping[str, float]) -> Iterator[Problem]:
    """Masks of the sequence whose ventricle is not that of the still: an error where less than half is shared."""
    for phase, share in overlaps.items():
        say = error if share < _OTHER_LV else warning
        what = f"the lv of its {phase} mask is not that of the still (IoU {share:.2f})"
        yield say(file, what, "compare both, and copy or draw the wrong one again: they should be the same", case)


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int((one | other).sum())
    return float((one & other).sum()) / union if union else 1.0


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _nearest(still: NDArray, frames: NDArray, expected: int, kind: _Kind) -> tuple[float, str, int]:
    """The distance of a still, turned in some way, from the frame that it is, and both: the expected one if it fits."""
    step = max(1, max(still.shape) // _SIDE)
    still, frames = still[::step, ::step], frames[:, ::step, ::step]
    right = kind.apart(still, frames[expected])
    if right <= kind.same:
        return right, _AS_IT_IS, expected
    places = [(turned, t) for turned in _TURNED for t in range(len(frames))]
    distances = [kind.apart(still[_TURNED[turned]], frames[t]) for turned, t in places]
    best = int(np.argmin(distances))
    if distances[best] <= min(kind.match, _CLEARLY * right):
        return distances[best], *places[best]
    return right, _AS_IT_IS, expected


def _told(
    case: Case, count: int, kind: _Kind, file: Path, phases: Mapping[str, int], found: Mapping[str, tuple[str, int]]
) -> Iterator[Problem]:
    info = case.files["info"]
    exchanged = {"ED": (_AS_IT_IS, phases["ES"]), "ES": (_AS_IT_IS, phases["ED"])}
    if found == exchanged:
        what = f"the {kind.name} of its ED frame is the still of ES, and the other way round"
        yield error(file, what, f"turn the sequence round, or exchange ED and ES in {info.name}", case)
        return
    for turned in sorted({turned for turned, _ in found.values()} - {_AS_IT_IS}):
        of = " and ".join(phase for phase, (how, _) in found.items() if how == turned)
        what = f"the {kind.name} of its {of} frame is the still {turned}"
        yield error(file, what, "turn the wrong one of both", case)
    first, last = Info(info).phases(count)
    for phase, (turned, t) in found.items():
        if turned == _AS_IT_IS:
            said, number = phases[phase], t
            if first > last:
                said, number = count - 1 - said, count - 1 - number
            what = f"says {phase}: {said + 1}; by the {phase} still it is {number + 1}"
            yield error(info, what, f"give the right frame: {phase}: {number + 1}", case)
