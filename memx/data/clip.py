"""A clip on disk becomes a Clip; everything after the readers sees only this."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jaxtyping import Bool, Float, Integer
from torch import Tensor

from memx.errors import DataError, unknown

if TYPE_CHECKING:
    from memx.data.check.layout import LayoutChecks

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
Reason = Literal["unlisted", "absent", "unlabelled", "unpaired", "incomplete"]


@dataclass(frozen=True)
class Clip:
    """A grey or colour clip with what is known about it.

    video     (t, c, y, x) float32 in [0, 1]
    labels    (t, y, x) whole numbers, label values (0 background, 1 LV, 2 myocardium, 3 LA), or None
    labelled  (t,) bool: which frames have a trustworthy label
    spacing   (y, x) millimetres a pixel, or None where unknown
    fps       frames a second, or None
    ed, es    0-based frame of end diastole and end systole, or None; ED may come after ES
    ef        the reference ejection fraction in percent, or None
    """

    video: Float[Tensor, "t c y x"]
    labels: Integer[Tensor, "t y x"] | None = None
    labelled: Bool[Tensor, " t"] | None = None
    spacing: tuple[float, float] | None = None
    fps: float | None = None
    patient: str = ""
    view: str = ""
    ed: int | None = None
    es: int | None = None
    ef: float | None = None
    source: Path | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.video.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.video.shape[-2], self.video.shape[-1]

    def replace(self, **changes: Any) -> Clip:
        return replace(self, **changes)


@dataclass(frozen=True)
class Case:
    """One clip of a data set, before it is read: where it is and whose it is."""

    id: str
    patient: str
    view: str
    split: str
    files: dict[str, Path] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """Something in a data set that cannot be used, and why.

    reason  `unlisted`: in none of the split's lists; `absent`: listed, but not there; `unlabelled`: nobody labelled it;
            `unpaired`: labels without pictures; `incomplete`: part of it is not there
    """

    what: str
    why: str
    reason: Reason = "incomplete"


@dataclass(frozen=True)
class Survey:
    """What lies in a data set: every usable case, in a stable order, and what was left out."""

    cases: list[Case]
    skipped: list[Skipped] = field(default_factory=list)


class MissingFilesError(DataError):
    """Files of cases that are there otherwise are missing.

    files   all of them; the message names the first ten
    """

    def __init__(self, files: Sequence[Path], remedy: str):
        super().__init__(f"{len(files)} files are missing", remedy=remedy)
        shown = "\n".join(f"  {path}" for path in files[:10])
        self.args = (f"{self.what}; {remedy}:\n{shown}",)
        self.files = list(files)


class NotHereError(DataError):
    """A folder does not hold a data set of a layout; the message ends with where such a data set comes from."""

    def __init__(self, root: Path, why: str, source: str):
        super().__init__(why, file=root, remedy="name the folder that holds the data set")
        self.args = (f"{root}: {why}. {source}".rstrip(),)


Tell = Callable[[DataError], None]


def stop(error: DataError) -> None:
    """The `Tell` of a survey that ends at the first mistake."""
    raise error


class Layout:
    """How a data set lies on disk. A subclass is registered with `layouts.register(name)`; options after the `*`.

    A subclass gives `survey` and `load`. Where it can go on past a mistake, it gives `collect` and lets `survey` be
    `collect(root, stop)`; where `memx data check` should know more of it than these tell, it overrides `checks`.

    source   where the data set comes from and how to get it: three lines at most, shown when it is not there
    labels   the label values that may occur and their names; empty where the layout does not know them
    """

    source: ClassVar[str] = ""
    labels: ClassVar[Mapping[int, str]] = {}

    def survey(self, root: Path) -> Survey:
        """List the data set without reading pixels. Raises DataError when it is not there or not of this layout."""
        raise NotImplementedError(f"{type(self).__name__} must define survey")

    def collect(self, root: Path, tell: Tell) -> Survey:
        """Like `survey`, but a mistake that stands in the way of one case is told and that case left out.

        The default stops at the first: it tells what `survey` raises and gives no cases.
        """
        try:
            return self.survey(root)
        except DataError as error:
            tell(error)
            return Survey([])

    def checks(self) -> LayoutChecks:
        """What `memx data check`, `info` and `split` may ask about a data set of this layout."""
        from memx.data.check.layout import LayoutChecks

        return LayoutChecks(self)

    def load(self, case: Case) -> Clip:
        """Read one case whole, at its own size and spacing. Raises DataError naming the file and the fix."""
        raise NotImplementedError(f"{type(self).__name__} must define load")

    def cases(self, root: Path, split: str | None = None) -> list[Case]:
        """The cases of a split (`train`, `val`, `test`; None: all), in a stable order.

        What had to be left out is logged as a warning, once a process; `survey` lists it.
        Raises DataError when the root is not there, is not of this layout, or the split is empty.
        """
        if split is not None and split not in SPLITS:
            raise DataError(unknown("split", split, SPLITS))
        survey = self.survey(Path(root))
        if survey.skipped:
            shown = "; ".join(f"{skipped.what}: {skipped.why}" for skipped in survey.skipped[:5])
            more = "; …" if len(survey.skipped) > 5 else ""
            _warn_once(f"{root}: left out {len(survey.skipped)}: {shown}{more}")
        cases = [case for case in survey.cases if split is None or case.split == split]
        if not cases:
            counts = ", ".join(f"{name} {sum(case.split == name for case in survey.cases)}" for name in SPLITS)
            reasons = f"; {len(survey.skipped)} left out, the first ({_first(survey)})" if survey.skipped else ""
            wanted = "is empty" if split is None else f"has no cases in split {split!r}"
            said = f"{wanted}; usable cases: {counts}{reasons}"
            raise DataError(said, file=Path(root), remedy=f"see memx data check {root}")
        return cases

    def not_here(self, root: Path, why: str) -> DataError:
        """The error for a root that does not hold this data set: what is wrong, then `source`."""
        return NotHereError(root, why, self.source)


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def _first(survey: Survey) -> str:
    return f"{survey.skipped[0].what}: {survey.skipped[0].why}"
