"""Where the ultrasound picture is in a frame that has text, menus and scales around it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

_FRAMES = 30  # about a heartbeat: the walls have moved
_CHANGE = 0.004  # one grey level of 8 bits: what a still picture does not do
_BRIGHT = 0.04  # a still clip shows its sector by brightness alone
_ACTIVE = 0.02  # of the frame must change for a clip to count as moving
_MARGIN = 0.02  # of the frame's side
_SNAP = 0.05  # of the frame's side: a border this near to the edge is the edge
_FULL = 0.75  # of the frame's area: a box this large is the frame

Box = tuple[int, int, int, int]


def sector_box(frames: Iterable[Float[Tensor, "c y x"]]) -> Box:
    """The box around the moving ultrasound sector: (top, bottom, left, right) pixels, bottom and right exclusive.

    Tissue changes from frame to frame where text and menus stand still. The standard deviation over the first 30 frames
    is smoothed and thresholded, gaps are closed, and the largest connected component is taken as the sector. A sector
    is as wide to the left of its apex as to the right, so the darker side is widened to match the other. The box has a
    margin of 2%; a side within 5% of the frame's edge becomes the edge, and a box of 75% of the frame or more becomes
    the frame: frames that the sector fills are not cropped. A clip that does not move, or has one frame, is judged by
    brightness. A blank clip gives the whole frame.

    Raises ValueError when there is no frame.
    """
    stack = [np.asarray(frame, np.float32).mean(0) for frame in islice(frames, _FRAMES)]
    if not stack:
        raise ValueError("sector_box wants at least one frame")
    height, width = stack[0].shape
    sigma = 0.008 * min(height, width)
    active = ndimage.gaussian_filter(np.std(stack, axis=0), sigma) > _CHANGE
    if active.mean() < _ACTIVE:
        active = ndimage.gaussian_filter(np.mean(stack, axis=0), sigma) > _BRIGHT
    sector = _largest_component(active)
    if not sector.any():
        return 0, height, 0, width
    return _settle(_symmetric_box(sector), height, width)


def _largest_component(active: np.ndarray) -> np.ndarray:
    """The largest connected region, after gaps of up to 3% of the shorter side are closed."""
    reach = max(1, round(0.015 * min(active.shape)))
    closed = ndimage.binary_closing(np.pad(active, reach), iterations=reach)[reach:-reach, reach:-reach]
    labels = np.empty(closed.shape, np.int32)
    ndimage.label(closed, output=labels)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return (labels == counts.argmax()) & closed


def _symmetric_box(sector: np.ndarray) -> Box:
    """The region's box, widened to be symmetric about the column of its apex (the middle of its topmost 5%)."""
    rows, columns = np.nonzero(sector)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    apex = columns[rows <= top + 0.05 * (bottom - top)].mean()
    reach = max(apex - left, right - apex)
    return int(top), int(bottom), int(np.floor(apex - reach)), int(np.ceil(apex + reach))


def _settle(box: Box, height: int, width: int) -> Box:
    """Add the margin, keep inside the frame, and let what is nearly the frame's edge be the edge."""
    top, bottom, left, right = box
    dy, dx = _MARGIN * height, _MARGIN * width
    near_y, near_x = _SNAP * height, _SNAP * width
    top, bottom = round(top - dy), round(bottom + dy)
    left, right = round(left - dx), round(right + dx)
    top, left = (top if top > near_y else 0), (left if left > near_x else 0)
    bottom, right = (bottom if height - bottom > near_y else height), (right if width - right > near_x else width)
    if (bottom - top) * (right - left) >= _FULL * height * width:
        return 0, height, 0, width
    return top, bottom, left, right
