"""Names find places near their points, within the bounds, and not on each other."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from memx.report.label_places import Box, Disc, leader, place_labels

BOUNDS = (0.0, 0.0, 400.0, 300.0)
DISCS = st.builds(
    Disc,
    x=st.floats(60, 340),
    y=st.floats(60, 240),
    radius=st.floats(2, 15),
    width=st.floats(20, 70),
    height=st.just(10.0),
)


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@settings(deadline=None, max_examples=60)
@given(discs=st.lists(DISCS, min_size=1, max_size=6))
def test_names_are_apart_within_the_bounds_and_off_their_points(discs: list[Disc]) -> None:
    boxes = place_labels(discs, BOUNDS)
    for number, (disc, box) in enumerate(zip(discs, boxes, strict=True)):
        assert math.isclose(box[2] - box[0], disc.width)
        assert math.isclose(box[3] - box[1], disc.height)
        assert box[0] >= BOUNDS[0]
        assert box[1] >= BOUNDS[1]
        assert box[2] <= BOUNDS[2]
        assert box[3] <= BOUNDS[3]
        assert not any(overlap(box, other) for other in boxes[number + 1 :])
        start, end = leader(disc, box)
        assert math.dist(start, end) > disc.radius
    assert boxes == place_labels(discs, BOUNDS)


def test_a_name_alone_stands_at_the_right() -> None:
    ((left, bottom, _, top),) = place_labels([Disc(100, 100, 10, 50, 10)], BOUNDS)
    assert 110 < left < 120
    assert (bottom + top) / 2 == 100


def test_a_name_makes_room_for_an_obstacle_and_for_the_edge() -> None:
    disc = Disc(100, 100, 10, 50, 10)
    wall = (115.0, 0.0, 117.0, 300.0)
    ((left, bottom, right, top),) = place_labels([disc], BOUNDS, [wall])
    assert not overlap((left, bottom, right, top), wall)
    ((_, _, right, _),) = place_labels([Disc(390, 100, 10, 50, 10)], BOUNDS)
    assert right < 390


def test_many_at_one_place_keep_their_lines_apart() -> None:
    discs = [Disc(200 + number, 150, 6, 60, 10) for number in range(5)]
    boxes = place_labels(discs, BOUNDS)
    for number, (disc, box) in enumerate(zip(discs, boxes, strict=True)):
        start, end = leader(disc, box)
        for share in (0.3, 0.6, 0.9):
            x, y = start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
            for other in (item for at, item in enumerate(boxes) if at != number):
                assert not overlap((x, y, x, y), other)


def test_nothing_to_place() -> None:
    assert place_labels([], BOUNDS) == []
