"""DICOM: the real clip that ships in pydicom, and headers with every trap that its calibration has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.examples import get_path
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from memx.data.streams import open_stream
from memx.data.streams.dicom_calibration import frame_rate, pixel_spacing
from memx.errors import DataError


def header(**words: Any) -> Dataset:
    made = Dataset()
    made.Rows, made.Columns = 240, 320
    for word, value in words.items():
        setattr(made, word, value)
    return made


def region(
    box: tuple[int, int, int, int] = (10, 20, 300, 220), dx: float = 0.03, dy: float = 0.05, **words: Any
) -> Dataset:
    made = Dataset()
    made.RegionLocationMinX0, made.RegionLocationMinY0, made.RegionLocationMaxX1, made.RegionLocationMaxY1 = box
    made.RegionSpatialFormat = 1
    made.PhysicalUnitsXDirection = made.PhysicalUnitsYDirection = 3
    made.PhysicalDeltaX, made.PhysicalDeltaY = dx, dy
    for word, value in words.items():
        setattr(made, word, value)
    return made


def write(path: Path, frames: np.ndarray, syntax: str = ExplicitVRLittleEndian, **words: Any) -> Path:
    """A grey DICOM of (t, y, x) or a colour one of (t, y, x, 3), with any word replaced or (None) left out."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    made.NumberOfFrames, made.Rows, made.Columns = frames.shape[:3]
    made.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    made.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    if frames.ndim == 4:
        made.PlanarConfiguration = 0
    bits = 8 * frames.dtype.itemsize
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(np.issubdtype(frames.dtype, np.signedinteger))
    made.PixelData = frames.tobytes()
    for word, value in words.items():
        if value is None:
            delattr(made, word)
        else:
            setattr(made, word, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    if pydicom.uid.UID(syntax).is_compressed and "PixelData" in made:
        made["PixelData"].is_undefined_length = True
        made.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no picture"] * frames.shape[0])
    made.save_as(path, enforce_file_format=True)
    return path


def test_the_real_clip() -> None:
    stream = open_stream(get_path("ybr_color"))
    assert (stream.kind, stream.length, stream.size, stream.channels) == ("dicom", 30, (240, 320), 1)
    assert stream.fps == pytest.approx(30, abs=0.01)
    assert stream.spacing is None
    assert "(84, 31)–(595, 414) lies outside the 320 × 240 pixel matrix" in stream.spacing_note
    frames = torch.stack(list(stream))
    assert frames.shape == (30, 1, 240, 320)
    assert 0 <= frames.min() <= 0.01
    assert 0.5 < frames.max() <= 1
    colour = next(iter(open_stream(get_path("ybr_color"), colour=True)))
    luma = (colour * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    torch.testing.assert_close(luma, frames[0, 0], atol=1e-6, rtol=0)


def test_a_calibrated_region_inside_the_picture_gives_millimetres() -> None:
    spacing, note = pixel_spacing(header(SequenceOfUltrasoundRegions=[region(dx=0.03, dy=-0.05)], PixelSpacing=[9, 9]))
    assert spacing == pytest.approx((0.5, 0.3))
    assert "region (10, 20)–(300, 220)" in note


def test_the_largest_two_dimensional_region_in_centimetres_is_the_one_that_counts() -> None:
    doppler = region(box=(0, 0, 320, 240), dx=1.0, PhysicalUnitsXDirection=4)
    trace = region(box=(0, 0, 320, 240), dx=1.0, RegionSpatialFormat=3)
    uncalibrated = region(box=(0, 0, 320, 240), dx=0.0)
    inset = region(box=(0, 0, 50, 50), dx=0.1, dy=0.1)
    spacing, _ = pixel_spacing(header(SequenceOfUltrasoundRegions=[doppler, trace, uncalibrated, inset, region()]))
    assert spacing == pytest.approx((0.5, 0.3))


@pytest.mark.parametrize(
    ("words", "spacing", "note"),
    [
        ({}, None, "neither a calibrated ultrasound region in cm nor a Pixel Spacing"),
        ({"PixelSpacing": [0.4, 0.2]}, (0.4, 0.2), "Pixel Spacing"),
        ({"PixelSpacing": [0.0, 0.2]}, None, "neither"),
        ({"SequenceOfUltrasoundRegions": [region((84, 31, 595, 414))]}, None, "resized after calibration"),
        (
            {"SequenceOfUltrasoundRegions": [region((84, 31, 595, 414))], "PixelSpacing": [0.5, 0.3]},
            None,
            "Pixel Spacing repeats the scale from before",
        ),
        (
            {"SequenceOfUltrasoundRegions": [region((84, 31, 595, 414))], "PixelSpacing": [1.0, 0.6]},
            (1.0, 0.6),
            "Pixel Spacing; the calibrated ultrasound region",
        ),
    ],
)
def test_pixel_spacing_where_no_region_can_be_believed(words: dict[str, Any], spacing: Any, note: str) -> None:
    found, said = pixel_spacing(header(**words))
    assert found == (pytest.approx(spacing) if spacing else None)
    assert note in said


def test_spacing_of_an_enhanced_object() -> None:
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [0.7, 0.6]
    group.PixelMeasuresSequence = [measures]
    assert pixel_spacing(header(SharedFunctionalGroupsSequence=[group]))[0] == (0.7, 0.6)


@pytest.mark.parametrize(
    ("words", "fps"),
    [
        ({}, None),
        ({"FrameTime": "20", "CineRate": 7}, 50.0),
        ({"FrameTime": "0", "CineRate": 7}, 7.0),
        ({"FrameTimeVector": ["0", "20", "30"]}, 40.0),
        ({"RecommendedDisplayFrameRate": 33}, 33.0),
    ],
)
def test_frame_rate(words: dict[str, Any], fps: float | None) -> None:
    assert frame_rate(header(**words)) == (pytest.approx(fps) if fps else None)


def test_colour_becomes_grey_by_luma_unless_asked_for(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    path = write(tmp_path / "clip.dcm", frames)
    grey = torch.stack(list(open_stream(path)))
    expected = torch.from_numpy(frames @ np.array([0.299, 0.587, 0.114]) / 255).float()
    torch.testing.assert_close(grey[:, 0], expected, atol=1e-6, rtol=0)
    stream = open_stream(path, colour=True)
    assert stream.channels == 3
    expected = torch.from_numpy(frames.transpose(0, 3, 1, 2) / 255).float()
    torch.testing.assert_close(torch.stack(list(stream)), expected)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 6, 8), dtype=np.uint8)
    stream = open_stream(write(tmp_path / "clip.dcm", frames, PhotometricInterpretation="MONOCHROME1"))
    torch.testing.assert_close(torch.stack(list(stream))[:, 0], torch.from_numpy(1 - frames / 255).float())


def test_sixteen_bits_are_scaled_by_the_clips_own_range(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(-2000, 1500, (3, 6, 8), dtype=np.int16)
    stream = open_stream(write(tmp_path / "clip.dcm", frames))
    low, high = float(frames.min()), float(frames.max())
    expected = torch.from_numpy((frames - low) / (high - low)).float()
    torch.testing.assert_close(torch.stack(list(stream))[:, 0], expected)
    assert f"{low:g} to {high:g}" in stream.intensity.rule


def test_a_single_frame_is_a_clip_of_one(tmp_path: Path) -> None:
    frames = np.full((1, 6, 8), 255, np.uint8)
    stream = open_stream(write(tmp_path / "clip.dcm", frames, NumberOfFrames=None))
    assert stream.length == 1
    assert torch.equal(torch.stack(list(stream)), torch.ones(1, 1, 6, 8))


def test_uncompressed_422_colour_of_several_frames(tmp_path: Path) -> None:
    """Two bytes a pixel: y₀ y₁ cb cr for each pair of pixels. The frames differ, so that a wrong step is seen."""
    luma = np.random.default_rng(0).integers(0, 256, (3, 6, 8), dtype=np.uint8)
    stored = np.full((3, 6, 16), 128, np.uint8)
    stored[..., 0::4], stored[..., 1::4] = luma[..., 0::2], luma[..., 1::2]
    words = {"PhotometricInterpretation": "YBR_FULL_422", "PixelData": stored.tobytes()}
    path = write(tmp_path / "clip.dcm", np.zeros((3, 6, 8, 3), np.uint8), **words)
    frames = torch.stack(list(open_stream(path)))
    assert frames.shape == (3, 1, 6, 8)
    torch.testing.assert_close(frames[:, 0], torch.from_numpy(luma / 255).float())
    cut = write(tmp_path / "cut.dcm", np.zeros((3, 6, 8, 3), np.uint8), **{**words, "PixelData": stored[:2].tobytes()})
    with pytest.raises(DataError, match=r"cut.dcm: frame \d of 3 cannot be decoded, the file is truncated or damaged"):
        list(open_stream(cut))


@pytest.mark.parametrize(
    ("slope", "intercept", "scale"),
    [
        ("1", "0", lambda stored: stored / 255),
        ("4", "0", lambda stored: 4 * stored / 255),  # 0..252: 8-bit values
        ("20", "-7", lambda stored: stored / 63),  # -7..1253: the clip's own range
        (None, "0", lambda stored: stored / 255),
    ],
)
def test_a_positive_rescale_slope_is_applied(tmp_path: Path, slope: str | None, intercept: str, scale: Any) -> None:
    stored = np.random.default_rng(0).permutation(np.arange(192) % 64).reshape(4, 6, 8).astype(np.uint8)
    words = {"RescaleIntercept": intercept} | ({"RescaleSlope": slope} if slope else {})
    stream = open_stream(write(tmp_path / "clip.dcm", stored, **words))
    expected = torch.from_numpy(scale(stored)).float()
    torch.testing.assert_close(torch.stack(list(stream))[:, 0], expected)


@pytest.mark.parametrize("slope", ["-1", "0"])
def test_another_rescale_slope_is_refused(tmp_path: Path, slope: str) -> None:
    path = write(tmp_path / "clip.dcm", FRAMES, RescaleSlope=slope, RescaleIntercept="255")
    with pytest.raises(DataError, match=rf"clip\.dcm: Rescale Slope {slope} and Intercept 255 .*; export it again"):
        open_stream(path)


FRAMES = np.zeros((3, 6, 8), np.uint8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"PixelData": None}, "this Ultrasound Multi-frame Image Storage has no pixel data"),
        ({"Rows": None}, "lacks Rows"),
        ({"NumberOfFrames": -1}, "tells of -1 frames"),
        ({"NumberOfFrames": 9}, "frame . of 9 cannot be decoded"),
        ({"syntax": JPEGLSLossless}, "no installed decoder reads JPEG-LS"),
        ({"syntax": DeflatedExplicitVRLittleEndian}, "dcmconv"),
        ({"syntax": MPEG4HP41}, "a video inside DICOM"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, words: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "clip.dcm", FRAMES, **words)
    with pytest.raises(DataError, match=message) as caught:
        list(open_stream(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", ["0.?", "wide"])
def test_a_damaged_header_is_refused(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "clip.dcm", FRAMES, FrameTime="12.5")
    path.write_bytes(path.read_bytes().replace(b"12.5", value.encode().ljust(4)))
    with pytest.raises(DataError, match=r"clip\.dcm: the DICOM header is damaged"):
        open_stream(path)


def test_the_real_clip_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "clip.dcm"
    whole = Path(get_path("ybr_color")).read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(DataError, match="damaged"):
        list(open_stream(path))


def test_what_only_calls_itself_dicom_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.dcm"
    path.write_bytes(b"not a clip" * 50)
    with pytest.raises(DataError, match="not a DICOM file"):
        open_stream(path)


def test_frames_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from memx.data.streams import dicom

    decoded: list[int] = []
    real = dicom.iter_pixels

    def counting(path: Path) -> Any:
        for frame in real(path):
            decoded.append(1)
            yield frame

    monkeypatch.setattr(dicom, "iter_pixels", counting)
    frames = iter(open_stream(get_path("ybr_color")))
    next(frames)
    next(frames)
    assert len(decoded) == 2
