"""A clip on disk becomes a Clip; everything after the readers sees only this."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """A grey or colour clip with what is known about it.

    video     (t, c, y, x) float32 in [0, 1]
    labels    (t, y, x) int64 label values (0 background, 1 LV, 2 myocardium, 3 LA), or None
    labelled  (t,) bool: which frames have a trustworthy label
    spacing   (y, x) millimetres a pixel, or None where unknown
    fps       frames a second, or None
    ed, es    0-based frame of end diastole and end systole, or None
    ef        the reference ejection fraction in percent, or None
    """

    video: Float[Tensor, "t c y x"]
    labels: Int[Tensor, "t y x"] | None = None
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


class Layout:
    """How a data set lies on disk. A subclass is registered with `layouts.register(name)`; options after the `*`.

    source   where the data set comes from and how to get it: three lines at most, shown when it is not there
    """

    source: str = ""

    def cases(self, root: Path, split: str | None = None) -> list[Case]:
        """The cases of a split (`train`, `val`, `test`; None: all), in a stable order.

        Raises DataError when the root is not there, is not of this layout, or the split is empty.
        """
        raise NotImplementedError

    def load(self, case: Case) -> Clip:
        """Read one case whole, at its own size and spacing. Raises DataError naming the file and the fix."""
        raise NotImplementedError
