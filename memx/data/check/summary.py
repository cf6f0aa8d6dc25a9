"""A data set in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from memx.data.check.facts import Facts
from memx.data.clip import SPLITS


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of a list of numbers."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None of an empty list."""
        known = list(values)
        return cls(float(min(known)), float(np.median(known)), float(max(known))) if known else None


@dataclass(frozen=True)
class ClassCount:
    """How much of a data set has one label value.

    name    what the layout calls it, or an empty string
    pixels  how many pixels of labelled frames
    share   of the pixels of labelled frames
    frames  labelled frames that have it
    """

    value: int
    name: str
    pixels: int
    share: float
    frames: int


@dataclass(frozen=True)
class Summary:
    """A data set in numbers; what could not be known, or was not read, is None or empty.

    patients  patients of usable clips
    clips     clips that could be read (`memx data info`: that are listed)
    views     view → clips
    splits    split → (patients, clips)
    frames    frames a clip
    labelled  labelled frames, and all frames
    heights, widths   pixels
    sizes     how many different sizes
    spacing_y, spacing_x, without_spacing   millimetres a pixel, and how many clips do not say
    fps       frames a second
    ef        per patient, in percent; `ef_values` holds them all
    classes   pixels by label value; None where pixels were not read
    leaks     patients and clips that stand in two splits; None where it was not looked for
    listed    clips that were to be read, of which `clips` could be; None where none was read
    """

    patients: int
    clips: int
    views: Mapping[str, int]
    splits: Mapping[str, tuple[int, int]]
    frames: Spread | None
    labelled: tuple[int, int]
    heights: Spread | None
    widths: Spread | None
    sizes: int
    spacing_y: Spread | None
    spacing_x: Spread | None
    without_spacing: int
    fps: Spread | None
    ef: Spread | None
    ef_values: Sequence[float]
    classes: Sequence[ClassCount] | None
    leaks: int | None = None
    listed: int | None = None

    @property
    def unread(self) -> int:
        """How many clips could not be read."""
        return 0 if self.listed is None else self.listed - self.clips

    def json(self) -> dict[str, object]:
        """As plain data."""
        return asdict(self)


def summarise(facts: Sequence[Facts], names: Mapping[int, str]) -> Summary:
    """The numbers of all cases; `names` are the layout's label values."""
    efs = {fact.case.patient: fact.ef for fact in facts if fact.ef is not None}
    known = [fact.spacing for fact in facts if fact.spacing is not None]
    return Summary(
        patients=len({fact.case.patient for fact in facts}),
        clips=len(facts),
        views=dict(sorted(Counter(fact.case.view for fact in facts if fact.case.view).items())),
        splits={
            split: (len({f.case.patient for f in facts if f.case.split == split}), n)
            for split in SPLITS
            for n in [sum(f.case.split == split for f in facts)]
        },
        frames=Spread.of(fact.frames for fact in facts),
        labelled=(sum(fact.labelled or 0 for fact in facts), sum(fact.frames for fact in facts)),
        heights=Spread.of(fact.size[0] for fact in facts),
        widths=Spread.of(fact.size[1] for fact in facts),
        sizes=len({fact.size for fact in facts}),
        spacing_y=Spread.of(y for y, _ in known),
        spacing_x=Spread.of(x for _, x in known),
        without_spacing=len(facts) - len(known),
        fps=Spread.of(fact.fps for fact in facts if fact.fps is not None),
        ef=Spread.of(efs.values()),
        ef_values=[efs[patient] for patient in sorted(efs)],
        classes=_classes(facts, names) if any(fact.pixels is not None for fact in facts) else None,
    )


def _classes(facts: Sequence[Facts], names: Mapping[int, str]) -> list[ClassCount]:
    pixels: Counter[int] = Counter()
    frames: Counter[int] = Counter()
    for fact in facts:
        pixels.update(fact.pixels or {})
        frames.update(fact.present or {})
    total = sum(pixels.values())
    values = sorted({*pixels, *names})
    return [ClassCount(v, names.get(v, ""), pixels[v], pixels[v] / total if total else 0.0, frames[v]) for v in values]
