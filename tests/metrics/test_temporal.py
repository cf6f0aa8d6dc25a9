import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.errors import DataError
from memx.metrics import Pair, Protocol, roughness, slope


def strip(pixels, width=100):
    """A mask of so many pixels: the first ones of a row."""
    return np.arange(width)[None] < pixels


def clip(areas, truths, *, patient="p", view="4CH", spacing=(2.0, 0.5), frames=None, structure="LV"):
    """A clip of strips; a strip of a pixels against one of b has the Dice 2 min(a, b) / (a + b)."""
    for frame, area, truth in zip(frames or range(len(areas)), areas, truths, strict=True):
        yield Pair(strip(area), strip(truth), spacing, patient, view, structure, "other", frame)


def test_roughness_by_hand():
    assert roughness([1.0, 2.0, 3.0, 4.0]) == 0
    assert roughness([0.0, 1.0, 0.0, 1.0, 0.0]) == 2
    assert roughness([t**2 for t in range(6)]) == pytest.approx(2 / 25)
    assert roughness([5.0, 9.0, 5.0]) == 2
    assert roughness([3.0, 3.0, 3.0]) is None
    assert roughness([3.0, 4.0]) is None
    with pytest.raises(ValueError, match="finite areas"):
        roughness([1.0, float("nan"), 2.0])


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=30), st.floats(0.1, 9), st.floats(-5, 5))
@settings(deadline=None, max_examples=60)
def test_roughness_is_between_0_and_2_and_knows_no_unit(areas, factor, shift):
    found = roughness(areas)
    if found is None:
        assert len(set(areas)) == 1
        return
    assert 0 <= found <= 2 + 1e-9
    assert roughness([factor * area + shift for area in areas]) == pytest.approx(found, abs=1e-9)
    assert roughness(areas[::-1]) == pytest.approx(found)


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(0, 1)), min_size=3, max_size=20, unique_by=lambda p: p[0]))
@settings(deadline=None, max_examples=60)
def test_slope_is_least_squares(points):
    frames, values = zip(*points, strict=True)
    assert slope(frames, values) == pytest.approx(np.polyfit(frames, values, 1)[0], abs=1e-9)


def test_slope_leaves_out_what_has_no_dice():
    assert slope([0, 1, 2, 3], [0.9, None, 0.7, 0.6]) == pytest.approx(-0.1)
    assert slope([0, 1, 2], [0.9, None, 0.7]) is None
    with pytest.raises(ValueError, match="every frame comes once"):
        slope([0, 0, 1], [1.0, 1.0, 1.0])


def test_a_clip_that_drifts():
    """Against a true strip of 50, one of 50, 41, 33 and 27 has a Dice of about 1, 0.9, 0.8 and 0.7."""
    areas = [50, 41, 33, 27]
    dices = [2 * a / (a + 50) for a in areas]
    steady = clip([40] * 4, [40] * 4, patient="b")
    scores = Protocol(draws=500).score([*clip(areas, [50] * 4, patient="a"), *steady])
    first, second = scores.clips
    assert first.dice == pytest.approx(dices)
    assert first.dice_slope == pytest.approx(np.polyfit(range(4), dices, 1)[0])
    assert first.dice_slope == pytest.approx(-0.1, abs=2e-3)
    assert second.dice_slope == 0
    assert first.area_prediction == areas  # a pixel of 2 × 0.5 mm is 1 mm²
    assert first.area_truth == [50] * 4
    assert first.roughness_prediction == pytest.approx((1 + 2) / 2 / 23)
    assert first.roughness_truth is None
    drift = {item.metric: item for item in scores.clip_summaries}["dice_slope"]
    assert (drift.n, drift.n_patients, drift.over, drift.unit) == (2, 2, "clips", "1/frame")
    assert drift.mean == pytest.approx((first.dice_slope or 0) / 2)
    assert drift.interval == pytest.approx((first.dice_slope or 0, 0))
    by_frame = [item.mean for item in scores.dice_by_frame]
    assert by_frame == pytest.approx([(dice + 1) / 2 for dice in dices])


def test_only_clips_without_gaps_count_and_the_others_are_counted():
    scores = Protocol(draws=0).score(
        [
            *clip([9, 8, 7], [9, 8, 6], patient="whole"),
            *clip([9, 8, 7], [9, 8, 6], patient="later", frames=[4, 5, 6]),
            *clip([9, 7], [9, 6], patient="ends", frames=[0, 9]),
            *clip([9, 8, 7], [9, 8, 6], patient="gap", frames=[0, 1, 3]),
            *clip([9, 8], [9, 8], patient="short"),
        ]
    )
    assert [course.patient for course in scores.clips] == ["whole", "later"]
    assert scores.clips_left_out == 3
    found = [(dict(item.by)["frame"], item.n) for item in scores.dice_by_frame]
    assert found == [("0", 2), ("1", 2), ("2", 2)], "counted from the first frame of each clip"
    assert all(item.interval is None for item in scores.clip_summaries)


def test_a_lost_frame_costs_and_an_absent_one_has_no_dice():
    scores = Protocol(draws=0).score(clip([5, 0, 5, 0], [5, 5, 5, 0]))
    (course,) = scores.clips
    assert course.dice == [1, 0, 1, None]
    assert course.roughness_prediction == 2
    drift = next(item for item in scores.clip_summaries if item.metric == "dice_slope")
    assert drift.n == 1
    assert (drift.n_one_empty, drift.n_both_empty) == (None, None), "these are counts of masks"


def on_disk(clip_frames, areas=(9, 8, 6), patient="p"):
    """The frames of a clip on disk that a model saw, one after the other."""
    for pair, frame in zip(clip(areas, [9] * len(areas), patient=patient), clip_frames, strict=True):
        yield replace(pair, clip_frame=frame)


def test_time_is_that_of_the_clip_on_disk():
    """Frames that were skipped leave a gap, and a clip that was shown backwards drifts in the order of its showing."""
    scores = Protocol(draws=0).score(
        [
            *on_disk([5, 6, 7], patient="forwards"),
            *on_disk([7, 6, 5], patient="backwards"),
            *on_disk([0, 2, 4], patient="skipped"),
            *on_disk([0, 1, 3], patient="uneven"),
        ]
    )
    assert [(course.patient, course.frames) for course in scores.clips] == [
        ("forwards", [5, 6, 7]),
        ("backwards", [7, 6, 5]),
    ]
    assert scores.clips[0].dice_slope == pytest.approx(scores.clips[1].dice_slope)
    assert scores.clips_left_out == 2
    with pytest.raises(DataError, match="comes twice"):
        Protocol(draws=0).score(on_disk([3, 4, 3]))


def test_files_hold_clips_and_dice_over_time(tmp_path):
    scores = Protocol(draws=100).score(
        [*clip([9, 8, 7], [9, 8, 6], patient="a"), *clip([9, 7, 6], [9, 8, 6], patient="b", spacing=None)]
    )
    scores.write(tmp_path)
    temporal = json.loads((tmp_path / "scores.json").read_text())["temporal"]
    assert {item["metric"] for item in temporal["summaries"]} == {
        "dice_slope",
        "roughness_prediction",
        "roughness_truth",
    }
    assert [item["frame"] for item in temporal["dice_by_frame"]] == ["0", "1", "2"]
    assert temporal["n_left_out"] == 0
    assert set(temporal["definitions"]) == {"dice_slope", "roughness"}
    with (tmp_path / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    assert [(row["patient"], row["last_frame"], row["area_unit"]) for row in clips] == [
        ("a", "2", "mm²"),
        ("b", "2", "px²"),
    ]
    assert float(clips[0]["dice_slope"]) == scores.clips[0].dice_slope
    with (tmp_path / "summaries.csv").open() as file:
        rows = list(csv.DictReader(file))
    over_time = [row for row in rows if row["frame"]]
    assert [float(row["mean"]) for row in over_time] == [item.mean for item in scores.dice_by_frame]
    assert {row["over"] for row in rows if row["metric"] == "dice_slope"} == {"clips"}
