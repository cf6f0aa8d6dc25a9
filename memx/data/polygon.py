"""A closed polygon becomes a mask."""

from __future__ import annotations

import numpy as np


def fill_polygon(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a `size` = (y, x) grid whose centres lie inside a polygon or on its edge, by the even-odd rule.

    Pixel centres are at whole coordinates. What lies outside the grid is cut off.
    """
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    inside = np.zeros(size, dtype=bool)
    edge = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        cross = (x1 - x0) * (rows - y0) - (columns - x0) * (y1 - y0)
        spans = (y0 <= rows) != (y1 <= rows)
        inside ^= spans & ((cross > 0) == (y1 > y0)) & (cross != 0)
        within_rows = (min(y0, y1) <= rows) & (rows <= max(y0, y1))
        within_columns = (min(x0, x1) <= columns) & (columns <= max(x0, x1))
        edge |= (cross == 0) & within_rows & within_columns
    return inside | edge


def polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    """The area of a simple polygon, by the shoelace formula: ½ |Σ x_i y_{i+1} − x_{i+1} y_i|."""
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
