"""Stored values to [0, 1]: one linear rule a clip, whatever the frames hold."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from memx.data.streams import Intensity, open_stream

values = arrays.arrays(
    st.sampled_from([np.int16, np.uint16, np.int32, np.float32, np.float64]),
    (3, 2, 4),
    elements=st.integers(0, 3000),
)


@given(values)
@settings(deadline=None, max_examples=60)
def test_every_clip_lands_in_the_unit_interval_in_order(clip: np.ndarray) -> None:
    rule = Intensity.of_values(clip)
    scaled = np.stack([rule(frame) for frame in clip])
    assert scaled.dtype == np.float32
    assert 0 <= scaled.min() <= scaled.max() <= 1
    order = np.argsort(clip, axis=None)
    assert (np.diff(scaled.ravel()[order]) >= 0).all()


@given(values)
@settings(deadline=None, max_examples=30)
def test_inverting_exchanges_black_and_white(clip: np.ndarray) -> None:
    rule = Intensity.of_values(clip)
    if rule.high > rule.low:
        np.testing.assert_allclose(rule.inverted()(clip), 1 - rule(clip), atol=1e-6)


@pytest.mark.parametrize(
    ("clip", "low", "high"),
    [
        (np.array([[[0.1, 0.9]]], np.float32), 0, 1),
        (np.array([[[0, 1]]], np.int16), 0, 255),
        (np.array([[[0.0, 254.5]]], np.float32), 0, 255),
        (np.array([[[0, 256]]], np.uint16), 0, 256),
        (np.array([[[-1.0, 1.0]]]), -1, 1),
        (np.array([[[-5, 20]], [[-30, 10]]], np.int16), -30, 20),
    ],
)
def test_the_rule(clip: np.ndarray, low: float, high: float) -> None:
    rule = Intensity.of_values(clip)
    assert (rule.low, rule.high) == (low, high)


def test_a_constant_clip_is_finite() -> None:
    assert (Intensity.of_values(np.full((2, 3, 3), -4.0))(np.full((3, 3), -4.0)) == 0).all()


def test_frames_of_one_clip_share_the_rule(tmp_path: Path) -> None:
    clip = np.zeros((8, 6, 3), np.int16)
    clip[..., 0], clip[..., 1], clip[..., 2] = 100, 1000, 2000
    nibabel.save(nibabel.Nifti1Image(clip, np.eye(4)), tmp_path / "clip.nii")
    stream = open_stream(tmp_path / "clip.nii")
    assert [round(float(frame.mean()), 4) for frame in stream] == [0, round(900 / 1900, 4), 1]
    assert stream.intensity.rule == "the clip's own range, 100 to 2000"


def test_a_slope_in_the_nifti_header_counts(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.full((8, 6, 3), 51, np.uint8), np.eye(4))
    image.header.set_slope_inter(2.0, 0.0)
    nibabel.save(image, tmp_path / "clip.nii")
    data = bytearray((tmp_path / "clip.nii").read_bytes())
    data[112:120] = np.array([2.0, 0.0], "<f4").tobytes()  # scl_slope and scl_inter
    data[352:] = b"\x33" * (8 * 6 * 3)
    (tmp_path / "clip.nii").write_bytes(data)
    assert float(next(iter(open_stream(tmp_path / "clip.nii"))).mean()) == pytest.approx(102 / 255)
