"""Frames of a clip with the predicted contour, and below them what the memory recalled at each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy import ndimage
from torch import Tensor

from memx.report.aspect import square_pixels
from memx.report.legend import colour_of
from memx.report.overlay import paint
from memx.report.style import ImageFormat, Theme, render

_STRENGTH = 0.62
"""How much of a pixel is the map's colour; the rest is the frame."""


@dataclass(frozen=True)
class MapRow:
    """One row of the sheet: a map over each frame, NaN where the model was not shown the frame.

    One scale of colours serves all frames; with `centred` it is symmetric about 0 and runs from blue to red.
    """

    label: str
    unit: str
    maps: Sequence[Float[np.ndarray, "y x"]]
    centred: bool = False

    @property
    def colours(self) -> str:
        return "RdBu_r" if self.centred else "viridis"

    def scale(self) -> Normalize:
        values = np.concatenate([part[np.isfinite(part)] for part in self.maps])
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        if self.centred:
            high = max(abs(low), abs(high))
            low = -high
        return Normalize(low, high if high > low else low + 1e-6)


def readout_sheet(
    frames: Sequence[Float[Tensor, "c y x"]],
    labels: Sequence[Int[np.ndarray, "y x"]],
    rows: Sequence[MapRow],
    captions: Sequence[str],
    *,
    spacing: tuple[float, float] | None,
    format: ImageFormat = "png",
    dark: bool = False,
) -> bytes:
    """A column a frame at true proportions: the frame, and below it each row's map over it, all with the contours.

    frames  pixels in [0, 1];  labels  0 background, 1 … objects
    Raises ValueError where there are not as many of all.
    """
    counts = {len(frames), len(labels), len(captions), *(len(row.maps) for row in rows)}
    if counts != {len(frames)} or not frames:
        raise ValueError(f"readout_sheet: {len(frames)} frames, {len(labels)} labels and {len(captions)} captions")
    seen = [square_pixels(frame, mask.astype(np.uint8), spacing) for frame, mask in zip(frames, labels, strict=True)]
    height, width = seen[0][1].shape

    def draw(figure: Figure, theme: Theme) -> None:
        grid: Any = figure.subplots(1 + len(rows), len(frames), squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        for axes, (frame, mask), caption in zip(grid[0], seen, captions, strict=True):
            axes.imshow(paint(frame, mask, structures={}, min_side=1), interpolation="antialiased")
            axes.set_title(caption, fontsize=9.5, loc="center")
            _outline(axes, mask, None)
        grid[0, 0].set_ylabel("prediction", fontsize=10)
        for line, row in zip(grid[1:], rows, strict=True):
            scale = row.scale()
            for axes, frame, values, (_, mask) in zip(line, frames, row.maps, seen, strict=True):
                picture, _ = square_pixels(
                    _coloured(frame, values, scale, row.colours), np.zeros_like(values, np.uint8), spacing
                )
                axes.imshow(picture.permute(1, 2, 0).numpy().clip(0, 1), interpolation="antialiased")
                _outline(axes, mask, "#ffffff")
            line[0].set_ylabel(row.label, fontsize=10)
            bar = figure.colorbar(ScalarMappable(scale, row.colours), ax=list(line), pad=0.01, aspect=14, fraction=0.03)
            bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
            bar.set_label(row.unit, color=theme.muted)

    each = 10.6 / max(len(frames), 4)
    size = (each * len(frames) + 1.1, (each * height / width) * (1 + len(rows)) + 0.4)
    return render(draw, size, format=format, dark=dark)


def _outline(axes: Any, mask: Int[np.ndarray, "y x"], colour: str | None) -> None:
    """The smoothed contour of every label, in its own colour or in the one given, on a dark rim."""
    for label in np.unique(mask[mask > 0]):
        level = ndimage.gaussian_filter((mask == label).astype(np.float64), 1.2)
        drawn = axes.contour(level, [0.5], colors=[colour or _hex(colour_of(int(label)))], linewidths=1.3)
        drawn.set_path_effects([withStroke(linewidth=2.4, foreground="#00000099")])


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _coloured(
    frame: Float[Tensor, "c y x"], values: Float[np.ndarray, "y x"], scale: Normalize, colours: str
) -> Tensor:
    """The frame in grey with the map over it where there is one."""
    grey = frame.mean(0, keepdim=True).expand(3, -1, -1)
    over = mpl.colormaps[colours](scale(np.nan_to_num(values)))[..., :3]
    tint = torch.from_numpy(np.ascontiguousarray(over)).permute(2, 0, 1).to(grey.dtype)
    return torch.where(torch.from_numpy(np.isfinite(values)), (1 - _STRENGTH) * grey + _STRENGTH * tint, grey)
