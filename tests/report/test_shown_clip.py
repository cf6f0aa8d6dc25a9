"""A clip in the report: what plays is what was scored, and its figures are those of its masks."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest

from memx.metrics.clinical import ejection_fraction, simpson_single
from memx.report.shown_clip import TRUTH, ShownClip

SIZE = 96


def ellipse(height: float, width: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((y - 48) / height) ** 2 + ((x - 48) / width) ** 2 <= 1


@pytest.fixture
def clip() -> ShownClip:
    """Four frames from ED to ES; the prediction is wider than the truth, which is known at both ends."""
    squeeze = (1.0, 0.9, 0.8, 0.7)
    truth = np.stack([ellipse(36 * s, 18 * s) for s in squeeze])
    truth[1:3] = False
    return ShownClip(
        patient="p1",
        view="4CH",
        structures=("LV",),
        frames=np.full((4, 1, SIZE, SIZE), 60, np.uint8),
        prediction=np.stack([ellipse(36 * s, 22 * s) for s in squeeze]).astype(np.uint8),
        truth=truth[None],
        labelled=(0, 3),
        dice={0: 0.9, 3: 0.8},
        clip_frames=(4, 6, 8, 10),
        spacing=(0.5, 0.5),
        fps=30.0,
        ed=0,
        es=3,
    )


def test_says_which_frame_of_the_clip_on_disk(clip: ShownClip) -> None:
    assert [clip.caption(t) for t in range(4)] == [
        "frame 5 · ED · Dice 0.900",
        "frame 7 · no truth",
        "frame 9 · no truth",
        "frame 11 · ES · Dice 0.800",
    ]
    assert (clip.title, clip.worst_frame) == ("p1 4CH", 3)
    assert clip.mean_dice == pytest.approx(0.85)


def test_the_truth_is_drawn_where_there_is_one(clip: ShownClip) -> None:
    white = [(np.abs(clip.picture(t).astype(int) - TRUTH).max(-1) < 40).sum() for t in range(4)]
    assert white[1] == white[2] == 0
    assert min(white[0], white[3]) > 100


def test_every_structure_has_its_outline(clip: ShownClip) -> None:
    two = replace(
        clip,
        structures=("LV", "LA"),
        truth=np.concatenate([clip.truth, np.zeros_like(clip.truth)]),
        prediction=clip.prediction * np.uint8(2),
    )
    assert (two.picture(1) != clip.picture(1)).any(-1).sum() > 100


def test_the_video_plays_every_frame_and_short_clips_slowly(clip: ShownClip) -> None:
    shown = clip.video("row-wise Dice")
    assert (shown.title, shown.note) == ("p1 4CH", "row-wise Dice 0.850 over 2 scored frames")
    with av.open(io.BytesIO(shown.data), "r") as container:
        track = container.streams.video[0]
        frames = list(container.decode(track))
        assert len(frames) == 4
        assert track.average_rate == 2, "four frames at 30 a second would be over before they are seen"
        assert frames[0].width == 384
    long = replace(
        clip,
        frames=np.repeat(clip.frames, 30, 0),
        prediction=np.repeat(clip.prediction, 30, 0),
        truth=np.repeat(clip.truth, 30, 1),
        clip_frames=tuple(range(120)),
        fps=None,
    )
    with av.open(io.BytesIO(long.video().data), "r") as container:
        assert container.streams.video[0].average_rate == 12


def test_pixels_that_are_not_square_are_shown_in_proportion(clip: ShownClip) -> None:
    tall = replace(clip, spacing=(1.0, 0.5)).picture(0)
    assert tall.shape[0] == pytest.approx(2 * tall.shape[1], rel=0.02)


def test_the_curves_say_the_ef_of_prediction_and_truth(clip: ShownClip) -> None:
    def ef(masks: np.ndarray) -> float:
        return ejection_fraction(simpson_single(masks[0], (0.5, 0.5)), simpson_single(masks[3], (0.5, 0.5))).value

    note = clip.curves().note
    assert note == (
        "ED and ES as the data set marks them. "
        f"EF predicted {ef(clip.prediction == 1):.0f}%, true {ef(clip.truth[0]):.0f}%. Volume by Simpson single-plane."
    )
    assert replace(clip, spacing=None).curves().note.endswith("Volume by area-length.")
    assert "EF true" in replace(clip, prediction=np.zeros_like(clip.prediction)).curves().note


def test_what_has_no_phases_has_no_volume_and_no_ef(clip: ShownClip) -> None:
    """Such as a clip of cells: their areas, and nothing of a heart."""
    cells = replace(clip, ed=None, es=None, structures=("a", "b"), truth=np.repeat(clip.truth, 2, 0))
    shown = cells.curves()
    assert shown.title == "p1 4CH: area"
    assert shown.alt == "a area, b area over 4 frames of p1 4CH, predicted and true"
    assert shown.note == ""
    assert cells.caption(0, "row-wise Dice") == "frame 5 · mean row-wise Dice 0.900"
