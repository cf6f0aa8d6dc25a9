"""The one look of every figure: two themes, colours that the colour-blind tell apart, text that a phone can show."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

ImageFormat = Literal["svg", "png"]


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. `first`, `second` and `third` are from Okabe and Ito's palette, lightened on dark."""

    background: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    third: str


LIGHT = Theme("#ffffff", "#1b2430", "#5b6776", "#e3e7ec", "#0072b2", "#d55e00", "#00805e")
DARK = Theme("#171c22", "#e8ecf1", "#9aa6b4", "#2c343e", "#56b4e9", "#f0a04b", "#3ccf9f")


def render(
    draw: Callable[[Figure, Theme], None], size: tuple[float, float], *, format: ImageFormat, dark: bool, dpi: int = 160
) -> bytes:
    """Draw a figure of `size` inches with one theme, as the bytes of an SVG (clear background) or a PNG.

    The same input gives the same bytes. No window, no global figure, and no setting outlives the call.
    """
    if format not in ("svg", "png"):
        raise ValueError(f"format is {format!r}; wants 'svg' or 'png'")
    theme = DARK if dark else LIGHT
    with mpl.rc_context(_settings(theme)):  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, theme)
        buffer = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type")) if format == "svg" else {"Software": None}
        figure.savefig(buffer, format=format, dpi=dpi, transparent=format == "svg", metadata=nothing)
    return buffer.getvalue()


def halo(theme: Theme) -> list[withStroke]:
    """The path effect that keeps words on a figure legible where lines run below them."""
    return [withStroke(linewidth=3, foreground=theme.background)]


def _settings(theme: Theme) -> dict[str, Any]:
    return {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "text.color": theme.ink,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": theme.ink,
        "axes.labelcolor": theme.muted,
        "axes.edgecolor": theme.muted,
        "axes.facecolor": theme.background,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": 9,
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "svg.fonttype": "path",
        "svg.hashsalt": "memx",
        "path.simplify": True,
        "text.parse_math": False,  # a dollar sign in a name is one
    }
