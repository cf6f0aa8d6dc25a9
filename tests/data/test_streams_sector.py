"""The sector's box: around the moving picture, without text and menus, and never cutting into a filled frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.examples import get_path
from torch import Tensor

from memx.data.streams import open_stream, sector_box


def sector(height: int, width: int, radius: float, apex: tuple[float, float], frames: int = 8) -> Tensor:
    """Moving speckle inside a 70° sector that hangs from its apex, black outside."""
    rows, columns = np.mgrid[:height, :width]
    y, x = rows - apex[0], columns - apex[1]
    inside = (np.hypot(y, x) < radius) & (np.abs(np.arctan2(x, y)) < np.deg2rad(35))
    speckle = np.random.default_rng(0).uniform(0.1, 0.8, (frames, 1, height, width)) * inside
    return torch.from_numpy(speckle).float()


def with_text(clip: Tensor) -> Tensor:
    clip = clip.clone()
    clip[..., 2:8, 2:40] = 0.9
    clip[..., -8:-2, 20:-20] = 0.6
    clip[..., 20:-20, -6:-3] = 0.8
    return clip


def test_the_real_clip() -> None:
    """The sector of the sample clip spans rows 20 to 201 and columns 40 to 300, looked up by eye."""
    top, bottom, left, right = sector_box(open_stream(get_path("ybr_color")))
    assert 8 <= top <= 20
    assert 201 <= bottom <= 222  # the menu begins at row 226
    assert 28 <= left <= 42
    assert 296 <= right <= 312


@given(st.integers(90, 140), st.integers(-20, 20), st.booleans())
@settings(deadline=None, max_examples=15)
def test_the_box_holds_the_sector_and_little_else(radius: int, shift: int, text: bool) -> None:
    clip = sector(240, 320, radius, (20, 160 + shift))
    box = sector_box(with_text(clip) if text else clip)
    half = radius * np.sin(np.deg2rad(35))
    expected = np.array([20, 20 + radius, 160 + shift - half, 160 + shift + half])
    grown = np.array([-1, 1, -1, 1]) * (np.array(box) - expected)
    assert (grown >= 0).all()
    assert (grown <= [20, 16, 20, 20]).all()


@pytest.mark.parametrize("size", [(112, 112), (256, 256), (600, 800)])
def test_a_frame_that_the_sector_fills_is_not_cropped(size: tuple[int, int]) -> None:
    height, width = size
    clip = sector(height, width, 0.98 * height, (0.01 * height, width / 2))
    if height == width:
        assert sector_box(clip) == (0, height, 0, width)
    top, bottom, left, right = sector_box(torch.rand(6, 1, height, width))
    assert (top, bottom, left, right) == (0, height, 0, width)


def test_one_frame_is_judged_by_brightness() -> None:
    one = with_text(sector(240, 320, 130, (20, 160), frames=1))
    top, bottom, left, right = sector_box(one)
    assert 5 <= top <= 20
    assert 150 <= bottom <= 166
    assert left <= 86
    assert right >= 234


def test_a_blank_clip_is_kept_whole() -> None:
    assert sector_box(torch.zeros(4, 1, 30, 50)) == (0, 30, 0, 50)


def test_colour_and_grey_agree() -> None:
    clip = sector(120, 160, 80, (15, 80))
    assert sector_box(clip.expand(-1, 3, -1, -1)) == sector_box(clip)


def test_only_the_first_frames_are_read() -> None:
    read: list[int] = []

    def frames():
        for index in range(10_000):
            read.append(index)
            yield torch.rand(1, 16, 16)

    sector_box(frames())
    assert len(read) == 30


def test_no_frame_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        sector_box([])
