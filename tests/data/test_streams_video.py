"""Video: lazily decoded, damaged files refused, colour and bit depth by a stated rule."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from memx.data.streams import open_stream, video
from memx.errors import DataError


def write(path: Path, frames: np.ndarray, *, codec: str = "ffv1", pixels: str = "gray", options: Any = None) -> Path:
    source = {2: "gray", 3: "rgb24"}[frames[0].ndim] if frames.dtype == np.uint8 else "gray16le"
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=Fraction(30000, 1001), options=options or {})
        track.height, track.width, track.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format=source)))
        container.mux(track.encode())
    return path


def test_the_first_frame_of_a_long_clip_costs_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2000, 32, 32), dtype=np.uint8)
    path = write(tmp_path / "long.avi", frames)
    decoded: list[int] = []
    real = video.frame_pixels

    def counting(frame: av.VideoFrame, pixels: str) -> np.ndarray:
        decoded.append(1)
        return real(frame, pixels)

    monkeypatch.setattr(video, "frame_pixels", counting)
    start = time.perf_counter()
    stream = open_stream(path)
    first = next(iter(stream))
    seconds = time.perf_counter() - start
    assert stream.length == 2000
    assert len(decoded) == 1
    assert torch.equal(first[0], torch.from_numpy(frames[0] / np.float32(255)))
    start = time.perf_counter()
    assert sum(1 for _ in stream) == 2000
    assert seconds < (time.perf_counter() - start) / 3


def test_echonets_kind_of_avi(tmp_path: Path) -> None:
    """Motion JPEG in yuvj420p, 112 × 112, grey content."""
    smooth = np.linspace(0, 255, 112).astype(np.uint8)
    frames = np.stack([np.broadcast_to(np.roll(smooth, 3 * t), (112, 112)) for t in range(6)])
    colour = np.repeat(frames[..., None], 3, axis=3)
    stream = open_stream(write(tmp_path / "0XA.avi", colour, codec="mjpeg", pixels="yuvj420p", options={"qmin": "1"}))
    assert (stream.length, stream.size, stream.channels) == (6, (112, 112), 1)
    assert stream.fps == pytest.approx(29.97, abs=0.01)
    inner = torch.stack(list(stream))[:, 0, :, 4:-24]
    assert (inner - torch.from_numpy(frames / 255.0)[:, :, 4:-24]).abs().mean() < 0.02


def test_colour_is_luma_unless_asked_for(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    path = write(tmp_path / "clip.mp4", frames, codec="libx264rgb", pixels="rgb24", options={"qp": "0"})
    grey = torch.stack(list(open_stream(path)))[:, 0]
    expected = torch.from_numpy(frames @ np.array([0.299, 0.587, 0.114]) / 255).float()
    torch.testing.assert_close(grey, expected, atol=1e-6, rtol=0)
    colour = torch.stack(list(open_stream(path, colour=True)))
    torch.testing.assert_close(colour, torch.from_numpy(frames.transpose(0, 3, 1, 2) / 255).float())


def test_a_limited_range_mp4_reaches_black_and_white(tmp_path: Path) -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[:, 16:] = 255
    path = write(tmp_path / "clip.mp4", frames, codec="libx264", pixels="yuv420p", options={"crf": "10"})
    frame = next(iter(open_stream(path)))[0]
    assert frame[:12].max() < 0.02
    assert frame[20:].min() > 0.98


def test_ten_and_sixteen_bits_are_fractions_of_their_range(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 2**16, (3, 8, 8), dtype=np.uint16)
    stream = open_stream(write(tmp_path / "clip.mkv", frames, pixels="gray16le"))
    torch.testing.assert_close(torch.stack(list(stream))[:, 0], torch.from_numpy(frames / 65535).float())
    stream = open_stream(write(tmp_path / "ten.mkv", frames, pixels="gray10le"))
    torch.testing.assert_close(
        torch.stack(list(stream))[:, 0], torch.from_numpy(frames / 65535).float(), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_cut_file_is_known_when_it_is_opened(tmp_path: Path, suffix: str, share: float) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    path = write(tmp_path / f"clip{suffix}", frames)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="truncated: its header promises"):
        open_stream(path)


@pytest.mark.parametrize("options", [{}, {"movflags": "+faststart"}])
def test_a_cut_mp4_is_refused(tmp_path: Path, options: dict[str, str]) -> None:
    """With its index at the end it cannot be opened; with its index at the start it ends too early."""
    path = tmp_path / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        track = container.add_stream("libx264", rate=30)
        track.height, track.width, track.pix_fmt = 32, 32, "yuv420p"
        for _ in range(40):
            picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    assert len(list(open_stream(path))) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a readable video" if not options else "truncated or damaged"):
        list(open_stream(path))


def test_a_header_that_promises_more_frames_is_refused(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 16, 16), dtype=np.uint8)
    path = write(tmp_path / "clip.avi", frames)
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 32  # dwLength of the stream header
    assert int.from_bytes(data[at : at + 4], "little") == 6
    data[at : at + 4] = (60).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match="promises 60 frames but only 6"):
        list(open_stream(path))


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path) -> None:
    """A trimmed MP4: the edit list begins at the media time of frame 4 of 12."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    path = write(tmp_path / "clip.mp4", frames, codec="libx264rgb", pixels="rgb24", options={"qp": "0", "bf": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 16  # version and flags, one entry: duration, then media time
    time_scale = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    assert int.from_bytes(data[at : at + 4], "big") == 0
    data[at : at + 4] = (4 * time_scale * 1001 // 30000).to_bytes(4, "big")
    path.write_bytes(data)
    stream = open_stream(path, colour=True)
    shown = torch.stack(list(stream))
    assert stream.length == len(shown) < 12
    torch.testing.assert_close(shown[0], torch.from_numpy(frames[12 - len(shown)].transpose(2, 0, 1) / 255).float())


def test_a_sound_file_has_no_video_track(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.rate, frame.pts = 8000, 0
        container.mux(track.encode(frame))
        container.mux(track.encode())
    with pytest.raises(DataError, match="no video track"):
        open_stream(path)


def test_noise_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(DataError, match="not a readable video"):
        list(open_stream(path))
