"""Overlays: the outline is where the mask is, the words fit, and the video plays everywhere."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.data.writers import AtomicFile
from memx.errors import UserError
from memx.report.legend import COLOURS, colour_of
from memx.report.overlay import OverlayVideo, _signed_distance, contact_sheet, draw_overlay, paint

STRUCTURES = {"left ventricle": 1, "myocardium": 2, "left atrium": 3}
BLACK = np.zeros((1, 112, 112), np.float32)


def disc(radius: float, centre: tuple[float, float] = (55.5, 55.5), side: int = 112) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (np.hypot(rows - centre[0], columns - centre[1]) <= radius).astype(np.uint8)


def shares(picture: np.ndarray, label: int, weight: float) -> np.ndarray:
    """Which pixels of a picture over black hold at least so much of a label's colour."""
    return picture.astype(float).sum(-1) >= weight * sum(colour_of(label))


def test_an_empty_mask_leaves_the_frame_as_it_was() -> None:
    frame = np.random.default_rng(0).random((1, 480, 500), np.float32)
    picture = paint(frame, np.zeros((480, 500), np.uint8), structures=STRUCTURES)
    assert picture.shape == (480, 500, 3)
    assert np.array_equal(picture, np.repeat((frame[0] * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2))


@given(st.floats(8, 40), st.floats(48, 62), st.floats(48, 62))
@settings(deadline=None, max_examples=10)
def test_the_tint_covers_the_masks_area(radius: float, row: float, column: float) -> None:
    """The smoothed outline keeps a disc's area to 3% and its centre to half a mask pixel."""
    mask = disc(radius, (row, column))
    picture = paint(BLACK, mask, structures=STRUCTURES, alpha=1.0)
    scale = picture.shape[0] // 112
    covered = shares(picture, 1, 0.5)
    outer_half = max(1.0, picture.shape[0] / 320) / 2
    area = np.pi * (np.sqrt(mask.sum() / np.pi) * scale + outer_half) ** 2
    assert covered.sum() == pytest.approx(area, rel=0.03)
    centre = (np.argwhere(covered).mean(0) + 0.5) / scale - 0.5
    np.testing.assert_allclose(centre, np.argwhere(mask).mean(0), atol=0.5)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_every_pixels_centre_is_on_its_side_of_the_outline(seed: int) -> None:
    """Specks, holes and one-pixel walls included: smoothing hides nothing that is in the mask."""
    inside = np.random.default_rng(seed).random((16, 20)) < 0.4
    distance = _signed_distance(inside, 5)
    assert distance.shape == (80, 100)
    assert np.array_equal(distance[2::5, 2::5] > 0, inside)


def test_a_speck_and_a_wall_are_seen() -> None:
    mask = np.zeros((112, 112), np.uint8)
    mask[20, 30], mask[60, 20:90] = 1, 2
    picture = paint(BLACK, mask, structures=STRUCTURES)
    scale = picture.shape[0] // 112
    assert shares(picture, 1, 0.9)[19 * scale : 22 * scale, 29 * scale : 32 * scale].sum() > 5
    along = shares(picture, 2, 0.9)[59 * scale : 62 * scale, 22 * scale : 88 * scale]
    assert along.any(axis=0).all()


def test_the_line_is_thin_and_even() -> None:
    picture = paint(BLACK, disc(35), structures=STRUCTURES, alpha=0.0)
    scale = picture.shape[0] // 112
    rows, columns = np.nonzero(shares(picture, 1, 0.5))
    radius = np.hypot(rows + 0.5 - 56 * scale, columns + 0.5 - 56 * scale)
    assert radius.std() < 0.3 * scale
    assert len(rows) / (2 * np.pi * 35 * scale) == pytest.approx(max(1.0, picture.shape[0] / 320), rel=0.25)


def test_mirroring_the_input_mirrors_the_picture() -> None:
    rng = np.random.default_rng(0)
    frame = rng.random((1, 60, 80), np.float32)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 15:50], mask[20:35, 20:40] = 2, 1
    picture = paint(frame, mask, structures=STRUCTURES).astype(int)
    mirrored = paint(frame[:, :, ::-1], mask[:, ::-1], structures=STRUCTURES).astype(int)
    assert np.abs(picture[:, ::-1] - mirrored).max() <= 2


def test_only_named_labels_are_drawn_each_in_its_colour() -> None:
    mask = disc(20, (30, 30)) + 3 * disc(15, (80, 80)) + 2 * disc(8, (90, 20))
    picture = paint(BLACK, mask, structures={"left ventricle": 1, "left atrium": 3}, alpha=1.0)
    scale = picture.shape[0] // 112
    assert tuple(picture[30 * scale, 30 * scale]) == COLOURS[0]
    assert tuple(picture[80 * scale, 80 * scale]) == COLOURS[2]
    assert picture[90 * scale, 20 * scale].max() == 0


def test_colours_stay_apart() -> None:
    assert len({colour_of(label) for label in range(1, 8)}) == 7
    assert colour_of(8) == colour_of(1)
    assert colour_of(255, [(1, 2, 3)]) == (1, 2, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_colour_and_captions(channels: int) -> None:
    frame = torch.rand(channels, 120, 150)
    bare = draw_overlay(frame, disc(9, side=150)[:120], structures={}, caption="")
    full = draw_overlay(frame, disc(9, side=150)[:120], structures=STRUCTURES, caption="frame 12 · ED")
    assert bare.shape == (480, 600, 3)
    assert full.shape[1] == 600
    assert 480 < full.shape[0] < 560
    long = draw_overlay(frame, disc(9, side=150)[:120], structures=STRUCTURES, caption="frame 12 · " + "long " * 40)
    assert long.shape == full.shape
    assert full.dtype == np.uint8
    assert not np.array_equal(long, full)


def test_the_pictures_size_does_not_depend_on_what_is_drawn() -> None:
    sizes = {
        draw_overlay(BLACK, mask, structures=STRUCTURES, caption=caption).shape
        for mask in (disc(9), np.zeros((112, 112), np.uint8))
        for caption in ("frame 1", "frame 1234 · ES")
    }
    assert len(sizes) == 1


def test_the_legend_fits_a_narrow_frame() -> None:
    picture = draw_overlay(np.zeros((1, 900, 200), np.float32), disc(9, side=900)[:, :200], structures=STRUCTURES)
    assert picture.shape[1] % 200 == 0
    border = picture[-10:, -3:].astype(int)
    assert np.ptp(border.reshape(-1, 3), axis=0).max() == 0


def test_frame_and_mask_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(1, 112, 112\) and \(5, 5\)"):
        draw_overlay(BLACK, np.zeros((5, 5), np.uint8), structures=STRUCTURES)


def test_a_contact_sheet_is_a_grid() -> None:
    frames, masks = [BLACK + 0.1 * i for i in range(5)], [disc(10 + 4 * i) for i in range(5)]
    sheet = contact_sheet(frames, masks, 3, structures=STRUCTURES, captions=[f"frame {i}" for i in range(5)])
    tile = 112 * 3
    assert sheet.shape[1] == 3 * tile + 2 * 2
    assert sheet.shape[0] > 2 * tile + 2
    assert abs(int(sheet[5, 2 * tile + 10, 0]) - round(0.2 * 255)) <= 1
    with pytest.raises(ValueError, match="5 frames, 4 masks"):
        contact_sheet(frames, masks[:4], 3, structures=STRUCTURES)
    with pytest.raises(ValueError, match="1 captions"):
        contact_sheet(frames, masks, 3, structures=STRUCTURES, captions=["one"])


@pytest.mark.parametrize("size", [(48, 64), (33, 51)])
def test_the_video_plays_in_a_browser(tmp_path: Path, size: tuple[int, int]) -> None:
    pictures = [np.full((*size, 3), (200, 60, 20 + 10 * index), np.uint8) for index in range(7)]
    path = tmp_path / "out" / "overlay.mp4"
    with OverlayVideo(path, fps=29.97) as video:
        for picture in pictures:
            video.write(picture)
            assert not path.exists()
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        assert (track.codec_context.name, track.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert track.codec_context.colorspace == 1
        assert float(track.average_rate or 0) == pytest.approx(29.97, abs=0.01)
        decoded = list(container.decode(video=0))
    assert len(decoded) == 7
    assert (decoded[0].height, decoded[0].width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    shown = decoded[3].reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()[: size[0], : size[1]]
    assert np.abs(shown.astype(int) - pictures[3]).mean() < 6
    assert [item.name for item in path.parent.iterdir()] == ["overlay.mp4"]


def test_a_video_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"earlier")

    def break_off() -> None:
        with OverlayVideo(path, fps=25) as video:
            video.write(np.zeros((32, 32, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    with pytest.raises(ValueError, match="no picture"), OverlayVideo(path, fps=25):
        pass
    video = OverlayVideo(path, fps=25)
    video.write(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"wants \(32, 32\) as the first one"):
        video.write(np.zeros((32, 34, 3), np.uint8))
    with pytest.raises(ValueError, match="closed"):
        video.write(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="positive"):
        OverlayVideo(path, fps=0)
    assert path.read_bytes() == b"earlier"
    assert [item.name for item in tmp_path.iterdir()] == ["overlay.mp4"]


@pytest.mark.parametrize("room", [0, 2000])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    class FileOnFullDisk:
        def __init__(self, file: Any):
            self._file, self._written = file, 0

        def write(self, data: Any) -> int:
            self._written += memoryview(data).nbytes
            if self._written > room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    real = AtomicFile.__init__

    def init(self: AtomicFile, path: Path) -> None:
        real(self, path)
        self.file = FileOnFullDisk(self.file)  # pyright: ignore[reportAttributeAccessIssue]

    monkeypatch.setattr(AtomicFile, "__init__", init)
    rng = np.random.default_rng(0)

    def run() -> None:
        with OverlayVideo(tmp_path / "overlay.mp4", fps=25) as video:
            for _ in range(8):
                video.write(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))

    with pytest.raises(UserError, match="disk is full"):
        run()
    assert list(tmp_path.iterdir()) == []
