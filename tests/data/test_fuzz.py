"""Mutated files: every reader and stream gives frames of the shape that it says, or refuses by name; none may crash,
hang, or fill the memory."""

import gzip
import io
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from memx.data import phantom
from memx.data.camus import Camus
from memx.data.clip import Layout
from memx.data.echonet import EchoNet
from memx.data.folder import Folder
from memx.data.streams import open_stream
from memx.errors import DataError

SECONDS, MEGABYTES = 20, 1500
GREY = np.stack([np.roll(np.add.outer(np.arange(24), 7 * np.arange(18)).astype(np.uint8), 3 * t, 1) for t in range(4)])
COLOUR = np.repeat(GREY[..., None], 3, axis=3)


def video(codec: str, pixels: str, frames: np.ndarray = GREY) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        source = "gray16le" if frames.dtype == np.uint16 else "gray" if frames.ndim == 3 else "rgb24"
        with av.open(str(path), "w") as container:
            track = container.add_stream(codec, rate=Fraction(50))
            track.height, track.width, track.pix_fmt = *frames.shape[1:3], pixels
            for frame in frames:
                container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format=source)))
            container.mux(track.encode())

    return write


def nifti(frames: np.ndarray, slope: float = 1.0) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.eye(4))
        image.header.set_slope_inter(slope, 0)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)

    return write


def metaimage(compress: bool) -> Callable[[Path], None]:
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(GREY), str(path), useCompression=compress)


def dicom(frames: np.ndarray, coding: str = "plain") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
        made.NumberOfFrames, made.Rows, made.Columns = frames.shape[:3]
        made.SamplesPerPixel = 3 if frames.ndim == 4 else 1
        made.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
        if frames.ndim == 4:
            made.PlanarConfiguration = 0
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
        made.FrameTime, made.PixelSpacing = "20", [0.15, 0.3]
        made.PixelData = frames.tobytes()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if coding == "rle":
            made.compress(RLELossless)
        if coding == "jpeg":
            made.PixelData = encapsulate([jpeg(frame) for frame in frames])
            made["PixelData"].is_undefined_length = True
            made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        made.save_as(path, enforce_file_format=True)

    return write


def jpeg(frame: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG")
    return data.getvalue()


def images(suffix: str, frames: np.ndarray) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for index, frame in enumerate(frames[:2]):
            Image.fromarray(frame).save(path / f"frame{index}{suffix}")

    return write


CLIPS: dict[str, Callable[[Path], None]] = {
    "ffv1.avi": video("ffv1", "gray"),
    "mjpeg.avi": video("mjpeg", "yuvj420p", COLOUR),
    "mpeg4.avi": video("mpeg4", "yuv420p", COLOUR),
    "h264.mp4": video("libx264", "yuv420p", COLOUR),
    "rgb.mov": video("libx264rgb", "rgb24", COLOUR),
    "deep.mkv": video("ffv1", "gray16le", GREY.astype(np.uint16) * 257),
    "grey.nii": nifti(GREY),
    "packed.nii.gz": nifti(GREY),
    "float.nii": nifti(GREY.astype(np.float32), slope=0.5),
    "split.mhd": metaimage(False),
    "local.mha": metaimage(False),
    "packed.mha": metaimage(True),
    "grey.dcm": dicom(GREY),
    "rgb.dcm": dicom(COLOUR),
    "rle.dcm": dicom(GREY, "rle"),
    "jpeg.dcm": dicom(GREY, "jpeg"),
    "png": images(".png", GREY),
    "png16": images(".png", GREY.astype(np.uint16) * 257),
    "jpg": images(".jpg", COLOUR),
    "tif": images(".tif", COLOUR),
    "bmp": images(".bmp", COLOUR),
}


@dataclass(frozen=True)
class Edit:
    """One damage: `what` is done to `length` bytes from the place that is `at` of the first `span` bytes."""

    what: str
    span: int | None
    at: float
    length: int
    value: int

    def __call__(self, content: bytearray) -> None:
        start = int(self.at * min(len(content), self.span or len(content)))
        end = min(len(content), start + self.length)
        if self.what == "flip":
            content[start:end] = bytes(byte ^ self.value for byte in content[start:end])
        elif self.what == "set":
            content[start:end] = bytes([self.value]) * (end - start)
        elif self.what == "cut":
            del content[start:end]
        elif self.what == "double":
            content[start:start] = content[start:end]
        else:
            del content[start:]


EDITS = st.lists(
    st.builds(
        Edit,
        what=st.sampled_from(["flip", "set", "cut", "double", "end"]),
        span=st.sampled_from([64, 352, 1024, None]),
        at=st.floats(0, 1, exclude_max=True),
        length=st.sampled_from([1, 1, 2, 4, 16, 300]),
        value=st.sampled_from([1, 0, 255, 128, 48, 57]),
    ),
    min_size=1,
    max_size=4,
)


def damage(file: Path, edits: list[Edit], inside: bool) -> None:
    """Apply edits to a file; of a gzip file to what is packed in it, if `inside`."""
    content = file.read_bytes()
    inside = inside and file.suffix == ".gz"
    changed = bytearray(gzip.decompress(content) if inside else content)
    for edit in edits:
        edit(changed)
    file.write_bytes(gzip.compress(changed, 1) if inside else changed)


@contextmanager
def bounded() -> Iterator[None]:
    """Fails when the block takes too long, or makes the process larger than it was by too much."""

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before, largest = signal.signal(signal.SIGALRM, late), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - largest < 1024 * MEGABYTES


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, write in CLIPS.items():
        (folder / f"of_{name}").mkdir()
        write(folder / f"of_{name}" / name)
    return folder


FEW = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.mark.filterwarnings("ignore")  # pydicom and Pillow warn of much that a damaged file has
@pytest.mark.parametrize("name", CLIPS)
@FEW
@given(st.data(), EDITS, st.booleans(), st.booleans())
def test_a_stream_keeps_its_word_or_refuses_by_name(clips: Path, name: str, data, edits, inside, colour) -> None:
    whole, work = clips / f"of_{name}", clips / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)
    files = sorted(path for path in work.rglob("*") if path.is_file())
    damage(data.draw(st.sampled_from(files)), edits, inside)
    count, refusal = 0, name
    with bounded():
        try:
            stream = open_stream(work / name, colour=colour)
            for frame in stream:
                count += 1
                assert frame.shape == (stream.channels, *stream.size)
                assert frame.dtype == torch.float32
                assert ((frame >= 0) & (frame <= 1)).all()
            assert count > 0
            assert stream.length in (None, count)
            assert stream.spacing is None or all(np.isfinite(mm) and mm > 0 for mm in stream.spacing)
            assert stream.fps is None or (np.isfinite(stream.fps) and stream.fps > 0)
        except DataError as error:
            refusal = str(error)
    assert name in refusal


def folder_root(root: Path, images: str, masks: str, suffix: str) -> None:
    for clip in ("a", "b", "c"):
        for t, frame in enumerate(GREY[:3]):
            for kind, picture, ending in ((images, frame, suffix), (masks, frame % 3, ".png")):
                path = root / kind / clip / f"{t}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roots")
    phantom.write(folder / "camus", layout="camus", patients=1, size=64, frames=3)
    phantom.write(folder / "camus_mhd", layout="camus_mhd", patients=1, size=64, frames=3)
    phantom.write(folder / "echonet", layout="echonet", patients=1, size=64)
    folder_root(folder / "folder", "images", "masks", ".png")
    folder_root(folder / "davis", "JPEGImages/480p", "Annotations/480p", ".jpg")
    return folder


LAYOUTS: dict[str, Layout] = {
    "camus": Camus(),
    "camus_mhd": Camus(),
    "echonet": EchoNet(),
    "folder": Folder(),
    "davis": Folder(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYOUTS)
@settings(FEW, max_examples=60)
@given(st.data(), EDITS, st.booleans())
def test_a_layout_gives_clips_of_one_shape_or_refuses_by_name(roots: Path, name: str, data, edits, inside) -> None:
    root, layout = roots / name, LAYOUTS[name]
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "memx.json")
    file = data.draw(st.sampled_from(files))
    whole, refusal = file.read_bytes(), str(root)
    try:
        damage(file, edits, inside)
        with bounded():
            for case in layout.cases(root):
                clip = layout.load(case)
                assert clip.video.shape == (len(clip), clip.video.shape[1], *clip.size)
                assert clip.video.shape[1] in (1, 3)
                assert clip.labels is not None
                assert clip.labelled is not None
                assert clip.labels.shape == (len(clip), *clip.size)
                assert clip.labelled.shape == (len(clip),)
                assert ((clip.video >= 0) & (clip.video <= 1)).all()
                assert set(clip.labels.unique().tolist()) <= set(layout.labels or range(21))
                assert clip.spacing is None or all(np.isfinite(mm) and mm > 0 for mm in clip.spacing)
                assert clip.ed is None or (0 <= clip.ed < len(clip) and 0 <= (clip.es or 0) < len(clip))
                assert clip.ef is None or 0 <= clip.ef <= 100
    except DataError as error:
        refusal = str(error)
    finally:
        file.write_bytes(whole)
    assert str(root) in refusal


def test_the_undamaged_files_are_all_read(clips: Path, roots: Path) -> None:
    for name in CLIPS:
        assert (
            len(list(open_stream(clips / f"of_{name}" / name)))
            == len(GREY) - 2 * (clips / f"of_{name}" / name).is_dir()
        )
    for name, layout in LAYOUTS.items():
        assert [layout.load(case) for case in layout.cases(roots / name)]


def test_a_dicom_of_more_frames_than_it_says_is_refused(tmp_path: Path) -> None:
    dicom(GREY, "jpeg")(tmp_path / "clip.dcm")
    changed = pydicom.dcmread(tmp_path / "clip.dcm")
    changed.NumberOfFrames = 2
    changed.save_as(tmp_path / "clip.dcm")
    with pytest.raises(DataError, match=r"clip.dcm: "):
        list(open_stream(tmp_path / "clip.dcm"))
