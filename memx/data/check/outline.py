"""Whether a traced outline is a simple polygon."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memx.data.polygon import fill_polygon, polygon_area

Coordinates = Float[np.ndarray, " m"]


def crossings(x: Coordinates, y: Coordinates) -> int:
    """How often the edges of a closed polygon properly cross each other."""
    ends = np.stack([x, y], axis=1)
    nexts = np.roll(ends, -1, axis=0)
    first, second = np.triu_indices(len(ends), 2)

    def side(a: np.ndarray, b: np.ndarray, p: np.ndarray) -> np.ndarray:
        u, v = b - a, p - a
        return np.sign(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])

    a, b, c, d = ends[first], nexts[first], ends[second], nexts[second]
    proper = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return int(proper.sum())


def lost_area(x: Coordinates, y: Coordinates) -> float:
    """The share of the pixels within an outline's reach that its crossings turn inside out, from 0 to 1.

    The reach is what the outline fills when its points go round their middle in order of angle.
    """
    angle = np.argsort(np.arctan2(y - y.mean(), x - x.mean()), kind="stable")
    left, top = np.floor(x.min()), np.floor(y.min())
    size = int(np.ceil(y.max() - top)) + 2, int(np.ceil(x.max() - left)) + 2
    reach = fill_polygon(x[angle] - left, y[angle] - top, size, edges=False).sum()
    return float(max(0.0, 1 - polygon_area(x, y) / reach)) if reach else 1.0
