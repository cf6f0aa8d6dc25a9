"""A figure that goes onto a profile's page, light and dark, and into a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from memx.report.html import Figure
from memx.report.style import ImageFormat


class Draw(Protocol):
    """A figure of `memx.report` with its figures filled in."""

    def __call__(self, *, format: ImageFormat, dark: bool) -> bytes: ...


@dataclass(frozen=True)
class Drawing:
    """`name` is the file's, without an ending; the others are those of `memx.report.html.Figure`."""

    name: str
    title: str
    draw: Draw
    alt: str
    note: str = ""
    wide: bool = False

    def section(self) -> Figure:
        """The figure of the page."""
        light, dark = (self.draw(format="svg", dark=dark) for dark in (False, True))
        return Figure(self.title, light, self.alt, self.note, dark, wide=self.wide)

    def png(self) -> bytes:
        """The figure of the file."""
        return self.draw(format="png", dark=False)
