"""How a ventricle lies in the picture: apical views have its long axis near the vertical."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

LYING = 60.0
"""Degrees from the vertical beyond which a long axis is not that of an apical view."""
LONG = 1.3
"""How many times as long as wide a ventricle must be for its long axis to count."""


def degrees_lying(mask: Bool[np.ndarray, "y x"], spacing: tuple[float, float] | None) -> float | None:
    """The angle from the vertical, 60° to 90°, of a structure that lies on its side; None where it does not.

    The long axis is the first principal axis of the mask's pixels, in millimetres where `spacing` (y, x) is known;
    length to width is the ratio of the standard deviations along both axes, which for an ellipse is that of its
    diameters. A structure that is less than `LONG` times as long as wide has no long axis.
    """
    places = np.argwhere(mask) * np.asarray(spacing or (1.0, 1.0))
    if len(places) < 3:
        return None
    (narrow, wide), axes = np.linalg.eigh(np.cov(places.T))
    if wide < LONG**2 * max(narrow, 0.0):
        return None
    y, x = np.abs(axes[:, 1])
    angle = math.degrees(math.atan2(x, y))
    return angle if angle > LYING else None
