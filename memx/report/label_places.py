"""Where the names of points go, so that none lies on another name or on a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""
Segment = tuple[tuple[float, float], tuple[float, float]]

_GAPS = (3.0, 7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0)
_DIRECTIONS = 24
_SWEEPS = 10
_INSIDE = np.array([-0.5, -0.5, 0.5, 0.5])
"""A line may touch the box of its own name, and another's by less than this."""
_OUTSIDE, _ON_NAME, _ON_POINT, _CROSSES, _ON_OBSTACLE = 400.0, 200.0, 100.0, 60.0, 30.0


@dataclass(frozen=True)
class Disc:
    """A point with its name's width and height, in the units of the bounds: points of 1/72 inch."""

    x: float
    y: float
    radius: float
    width: float
    height: float


def place_labels(discs: Sequence[Disc], bounds: Box, obstacles: Sequence[Box] = ()) -> list[Box]:
    """A box for the name of each disc: near it, within the bounds, clear of names, discs and obstacles where it can be.

    Each name has candidates all around its disc at several distances. The most crowded names choose first, and all
    choose again as long as any gains: leaving the bounds costs most, then names on names, on discs, lines to names that
    cross, names on obstacles, then distance, then places other than right, left, above and below. The same input gives
    the same places.
    """
    candidates = [_candidates(disc) for disc in discs]
    alone = [_alone(boxes, number, discs, bounds, obstacles) for number, boxes in enumerate(candidates)]
    order = sorted(range(len(discs)), key=lambda number: (-float(np.median(alone[number])), number))
    chosen: dict[int, int] = {}
    for _ in range(_SWEEPS):
        before = dict(chosen)
        for number in order:
            cost = alone[number].copy()
            for other, at in chosen.items():
                if other != number:
                    cost += _beside(discs[number], candidates[number], discs[other], candidates[other][at])
            chosen[number] = int(np.argmin(cost))
        if chosen == before:
            break
    return [_box(boxes[chosen[number]]) for number, boxes in enumerate(candidates)]


def leader(disc: Disc, box: Box) -> Segment:
    """From the middle of a disc to the nearest place of its name's box."""
    return (disc.x, disc.y), (min(max(disc.x, box[0]), box[2]), min(max(disc.y, box[1]), box[3]))


def _candidates(disc: Disc) -> NDArray[np.float64]:
    """Boxes (n, 4) whose nearest place is a gap away from the rim, direction by direction, starting at the right."""
    gap, angle = np.meshgrid(_GAPS, 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS, indexing="ij")
    cos, sin = np.cos(angle).ravel(), np.sin(angle).ravel()
    reach = disc.radius + gap.ravel()
    left = disc.x + reach * cos - disc.width * (1 - cos) / 2
    bottom = disc.y + reach * sin - disc.height * (1 - sin) / 2
    return np.column_stack([left, bottom, left + disc.width, bottom + disc.height])


def _alone(
    boxes: NDArray[np.float64], number: int, discs: Sequence[Disc], bounds: Box, obstacles: Sequence[Box]
) -> NDArray[np.float64]:
    """What each candidate costs whatever the other names do."""
    over = np.column_stack([bounds[0] - boxes[:, 0], bounds[1] - boxes[:, 1], boxes[:, 2] - bounds[2]])
    outside = np.maximum(np.column_stack([over, boxes[:, 3] - bounds[3]]), 0).sum(axis=1)
    cost = _OUTSIDE * (outside > 0) + 5 * outside
    own = discs[number]
    near = _near(own, boxes)
    for other, disc in enumerate(discs):
        x, y = _near(disc, boxes)
        cost += _ON_POINT * (np.hypot(x - disc.x, y - disc.y) < disc.radius + (0.5 if other == number else 2.0))
        if np.hypot(own.x - disc.x, own.y - disc.y) > disc.radius:
            cost += _CROSSES / 2 * (_distance(own, near, disc.x, disc.y) < 0.9 * disc.radius)
    for box in obstacles:
        cost += _ON_OBSTACLE * _overlaps(boxes, box, 1.0)
    gap, step = np.repeat(_GAPS, _DIRECTIONS), np.tile(np.arange(_DIRECTIONS), len(_GAPS))
    quarter = _DIRECTIONS // 4
    turn = np.select([step == 0, step == 2 * quarter, step % quarter == 0], [0.0, 1.0, 2.0], 4.0)
    return cost + 0.6 * gap + turn


def _beside(own: Disc, boxes: NDArray[np.float64], other: Disc, taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each candidate costs beside the place that another name has taken."""
    near, end = _near(own, boxes), leader(other, _box(taken))[1]
    crossing = _meet(own, near, other, end)
    crossing |= _through((own.x, own.y), near, taken - _INSIDE)
    crossing |= _through((other.x, other.y), end, boxes - _INSIDE)
    return _ON_NAME * _overlaps(boxes, _box(taken), 2.0) + _CROSSES * crossing


def _near(disc: Disc, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The place of each box that is nearest to the middle of a disc."""
    return np.clip(disc.x, boxes[:, 0], boxes[:, 2]), np.clip(disc.y, boxes[:, 1], boxes[:, 3])


def _distance(
    own: Disc, near: tuple[NDArray[np.float64], NDArray[np.float64]], x: float, y: float
) -> NDArray[np.float64]:
    """How far (x, y) is from the lines from a disc to its name."""
    along_x, along_y = near[0] - own.x, near[1] - own.y
    length = np.maximum(along_x**2 + along_y**2, 1e-9)
    share = np.clip(((x - own.x) * along_x + (y - own.y) * along_y) / length, 0, 1)
    return np.hypot(own.x + share * along_x - x, own.y + share * along_y - y)


def _through(start: tuple[float, float], end: Any, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether lines run through boxes: one line and many boxes, or many lines and one box."""
    enters, leaves = 0.0, 1.0
    for axis in (0, 1):
        along = np.asarray(end[axis] - start[axis], dtype=np.float64)
        along = np.where(np.abs(along) < 1e-9, 1e-9, along)
        a, b = (boxes[..., axis] - start[axis]) / along, (boxes[..., axis + 2] - start[axis]) / along
        enters, leaves = np.maximum(enters, np.minimum(a, b)), np.minimum(leaves, np.maximum(a, b))
    return np.asarray(enters < leaves)


def _meet(
    own: Disc, near: tuple[NDArray[np.float64], NDArray[np.float64]], other: Disc, end: tuple[float, float]
) -> NDArray[np.bool_]:
    """Whether the lines from a disc to its name cross another disc's line."""

    def side(ax: Any, ay: Any, bx: Any, by: Any, x: Any, y: Any) -> Any:
        """Positive to the left of the line from a to b."""
        return (bx - ax) * (y - ay) - (by - ay) * (x - ax)

    first = side(own.x, own.y, *near, other.x, other.y) * side(own.x, own.y, *near, *end)
    second = side(other.x, other.y, *end, own.x, own.y) * side(other.x, other.y, *end, *near)
    return np.asarray((first < 0) & (second < 0))


def _overlaps(boxes: NDArray[np.float64], box: Box, gap: float) -> NDArray[np.bool_]:
    across = (boxes[:, 0] < box[2] + gap) & (box[0] < boxes[:, 2] + gap)
    return across & (boxes[:, 1] < box[3] + gap) & (box[1] < boxes[:, 3] + gap)


def _box(values: NDArray[np.float64]) -> Box:
    left, bottom, right, top = values.tolist()
    return left, bottom, right, top
