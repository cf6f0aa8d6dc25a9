"""The same patient, or the same pixels, in two places."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from memx.data.check.problem import Problem, error, warning
from memx.data.clip import Case, Clip

_ONE = "keep one of them, or write new splits: memx data split ROOT --force"


def patients_in_two_splits(cases: Iterable[Case]) -> Iterator[Problem]:
    """A patient whose clips stand in more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        splits[case.patient].add(case.split)
    for patient, names in splits.items():
        if len(names) > 1:
            yield replace(error(patient, f"is in the splits {' and '.join(sorted(names))}", _ONE), leak=True)


class SamePixels:
    """Finds clips that share frames, whatever they are called: a copy, or a part of one.

    Frames are compared by a digest of their decoded pixels. Frames of one grey value do not count.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self._cases: list[Case] = []
        self._shared: dict[tuple[int, int], int] = defaultdict(int)

    def add(self, case: Case, clip: Clip) -> None:
        """Take a clip into account."""
        here = len(self._cases)
        self._cases.append(case)
        for frame in (clip.video * 255 + 0.5).byte().numpy():
            if frame.min() == frame.max():
                continue
            digest = hashlib.blake2b(repr(frame.shape).encode() + frame.tobytes(), digest_size=10).digest()
            before = self._first.setdefault(digest, here)
            if before != here:
                self._shared[before, here] += 1

    def problems(self) -> Iterator[Problem]:
        """Pairs of clips that share frames: an error in two splits, a warning in one."""
        for (one, other), count in self._shared.items():
            first, second = self._cases[one], self._cases[other]
            frames = f"{count} frame{'s' * (count > 1)} of {second.id}"
            if first.split != second.split:
                what = (
                    f"{frames} ({second.split}) {'are' if count > 1 else 'is'} the pixels of {first.id} ({first.split})"
                )
                yield replace(error(second.id, what, _ONE, second), leak=True)
            else:
                what = f"{frames} {'are' if count > 1 else 'is'} the pixels of {first.id}"
                yield warning(second.id, what, "remove one of them, unless both are meant", second)
