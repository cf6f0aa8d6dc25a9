"""The long axis of the left ventricle, found from its mask in an apical view, and the discs perpendicular to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from memx.metrics.surface import Spacing, check_spacing, surface

Point = tuple[float, float]
DISCS = 20
TIP = 0.02
"""The share of the axis at its apical end whose mean is the apex."""


@dataclass(frozen=True)
class LongAxis:
    """The line from the middle of the mitral annulus to the apex.

    base, apex  (y, x), in mm where the spacing is known, else in pixels; pixel (i, j) has its centre at (i·sy, j·sx)
    length      from base to apex
    """

    base: Point
    apex: Point
    length: float

    @property
    def direction(self) -> Point:
        """Unit vector (y, x) from base to apex."""
        return (self.apex[0] - self.base[0]) / self.length, (self.apex[1] - self.base[1]) / self.length


@dataclass(frozen=True)
class Discs:
    """A mask cut into slabs of one height, perpendicular to its long axis, from base to apex.

    diameters  (d,) the mean width of the mask in each slab: its area there over the height
    height     of one slab; d · height is the extent of the whole mask along the axis
    """

    diameters: NDArray[np.float64]
    height: float


def cavity(mask: ArrayLike) -> NDArray[np.bool_]:
    """The largest piece of a mask (y, x) with its holes filled: specks beside a ventricle would bend its axis."""
    solid = np.asarray(mask)
    if solid.dtype != np.bool_ or solid.ndim != 2:
        raise TypeError(f"mask is {solid.dtype} of shape {solid.shape}; wants a boolean mask (y, x)")
    if not solid.any():
        return solid
    box = ndimage.find_objects(solid.astype(np.uint8))[0]
    labels, count = ndimage.label(solid[box])  # pyright: ignore[reportGeneralTypeIssues]
    piece = labels > 0 if count == 1 else labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    found = np.zeros_like(solid)
    found[box] = ndimage.binary_fill_holes(piece)
    return found


def long_axis(mask: ArrayLike, spacing: Spacing | None) -> LongAxis | None:
    """The long axis of a left ventricle in an apical view: apex at the top of the image, tilted by up to 45°.

    1. The two ends of the annulus are the points of the mask farthest in the directions −u ± w, where u points to the
       apex and w is perpendicular to it: the corners of a flat base, whatever its tilt. At first u is the image's up.
       Each end is the mean of the border points within half a pixel of the farthest.
    2. The apex is the part of the mask farthest from the middle between the two ends: the mean of all that lies within
       2% of the largest distance, since the one farthest pixel of a blunt tip says little of where the tip points
       (of a half ellipsoid 57 mm long and 60 mm wide it is up to 1° off, and Simpson's volume 1.3%).
       u then points there, and 1. and 2. are repeated until u stays.
    3. The axis ends where that line leaves the mask, so that a rounded base is not cut short.

    mask     boolean (y, x); its largest piece is taken, with holes filled
    spacing  (y, x) millimetres a pixel, or None: pixels, assumed square

    Returns None for an empty mask.
    """
    return _axis(cavity(mask), check_spacing(spacing))


def discs(mask: ArrayLike, spacing: Spacing | None, count: int = DISCS) -> Discs | None:
    """Cut a mask into `count` slabs perpendicular to its long axis; None for an empty mask.

    The slabs cover all of the mask, also what lies beyond an annulus that is not perpendicular to the axis, so that
    Σ diameter · height is the mask's area; an annulus tilted by 20° costs Simpson's volume about 6%. Pixels are split
    finely enough that a slab is at least eight parts high.
    """
    if count < 1:
        raise ValueError(f"count is {count}; wants at least one disc")
    solid, scale = cavity(mask), check_spacing(spacing)
    axis = _axis(solid, scale)
    if axis is None:
        return None
    parts = min(8, max(1, math.ceil(8 * count * max(scale) / axis.length)))
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    rows, columns = (index[:, None, None] for index in np.nonzero(solid))
    up = axis.direction
    along = (rows + offsets[:, None]) * (scale[0] * up[0]) + (columns + offsets[None, :]) * (scale[1] * up[1])
    margin = (abs(up[0]) * scale[0] + abs(up[1]) * scale[1]) / (2 * parts)
    low, high = along.min() - margin, along.max() + margin
    height = (high - low) / count
    slab = np.minimum(((along - low) / height).astype(np.intp), count - 1)
    areas = np.bincount(slab.ravel(), minlength=count) * (scale[0] * scale[1] / parts**2)
    return Discs(areas / height, float(height))


def _axis(solid: NDArray[np.bool_], scale: Spacing) -> LongAxis | None:
    border, inside = (np.argwhere(mask).astype(np.float64) * np.asarray(scale) for mask in (surface(solid), solid))
    if not len(border):
        return None
    up, middle, norm, half = np.array([-1.0, 0.0]), border[0], 0.0, max(scale) / 2
    for _ in range(10):
        across = np.array([up[1], -up[0]])
        left, right = (_farthest(border, border @ (side * across - up), half) for side in (-1, 1))
        middle = (left + right) / 2
        distance = np.hypot(*(inside - middle).T)
        tip = _farthest(inside, distance, max(half, TIP * float(distance.max()))) - middle
        norm = float(np.hypot(*tip))
        if norm == 0 or np.hypot(*(tip / norm - up)) < 1e-6:
            break
        up = tip / norm
    on = _on_mask(solid, scale, middle, up) or (0.0, norm)  # a line through a notch ends at the middle and the apex
    base, apex = middle + on[0] * up, middle + on[1] * up
    return LongAxis((float(base[0]), float(base[1])), (float(apex[0]), float(apex[1])), on[1] - on[0])


def _farthest(points: NDArray[np.float64], reach: NDArray[np.float64], within: float) -> NDArray[np.float64]:
    """The mean of the points (n, 2) of the largest reach (n,), to `within`: a drawn corner is several pixels wide."""
    return points[reach >= reach.max() - within].mean(0)


def _on_mask(
    solid: NDArray[np.bool_], scale: Spacing, middle: NDArray[np.float64], up: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Where the line through `middle` along `up` enters and leaves the mask, to a sixteenth of a pixel."""
    step = min(scale) / 16
    ends = np.nonzero(solid.any(1))[0][[0, -1]] * scale[0], np.nonzero(solid.any(0))[0][[0, -1]] * scale[1]
    reach = math.hypot(*(float(np.abs(end - at).max()) for end, at in zip(ends, middle, strict=True))) + max(scale)
    count = math.ceil(reach / step)
    along = step * np.arange(-count, count + 1)
    pixels = np.rint((middle + along[:, None] * up) / np.asarray(scale)).astype(np.intp)
    within = ((pixels >= 0) & (pixels < solid.shape)).all(1)
    along, pixels = along[within], pixels[within]
    on = along[solid[pixels[:, 0], pixels[:, 1]]]
    return (float(on[0] - step / 2), float(on[-1] + step / 2)) if len(on) else None
