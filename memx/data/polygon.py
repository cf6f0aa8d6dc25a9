"""A closed polygon becomes a mask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def fill_polygon(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], size: tuple[int, int], *, edges: bool
) -> Bool[np.ndarray, "y x"]:
    """The pixels of a `size` = (y, x) grid whose centres lie inside a closed polygon, by the even-odd rule.

    Pixel centres are at whole coordinates. What lies outside the grid is cut off. `edges` says of centres that lie
    exactly on an edge: True counts them all in; False counts left and top edges in, right and bottom ones not, so that
    polygons which share an edge share no pixel.
    """
    x1, y1 = np.roll(x, -1), np.roll(y, -1)
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    row, edge = np.nonzero((y <= rows) != (y1 <= rows))
    crossing = x[edge] + (row - y[edge]) / (y1[edge] - y[edge]) * (x1[edge] - x[edge])
    first = np.clip(np.ceil(crossing), 0, size[1]).astype(np.int64)  # columns from here on lie right of the crossing
    toggles = np.bincount(row * (size[1] + 1) + first, minlength=size[0] * (size[1] + 1))
    inside = np.cumsum(toggles.reshape(size[0], size[1] + 1)[:, :-1], axis=1) % 2 == 1
    if edges:
        for xa, ya, xb, yb in zip(x, y, x1, y1, strict=True):
            within_rows = (min(ya, yb) <= rows) & (rows <= max(ya, yb))
            within_columns = (min(xa, xb) <= columns) & (columns <= max(xa, xb))
            inside |= within_rows & within_columns & ((xb - xa) * (rows - ya) == (columns - xa) * (yb - ya))
    return inside


def polygon_area(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> float:
    """The area of a simple polygon, by the shoelace formula: ½ |Σ x_i y_{i+1} − x_{i+1} y_i|."""
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
