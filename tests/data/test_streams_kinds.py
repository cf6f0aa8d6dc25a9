"""Every kind of clip: frames come back as they were written, and so do masks, whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from memx.data.streams import find_clips, open_stream
from memx.data.writers import AtomicFile, AtomicFolder, open_mask_writer
from memx.errors import DataError, UserError

STRUCTURES = {"left ventricle": 1, "myocardium": 2, "left atrium": 3}
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 14, 18), dtype=np.uint8)
MASKS = np.random.default_rng(1).integers(0, 4, FRAMES.shape, dtype=np.uint8)


def write_nifti(path: Path, frames: np.ndarray = FRAMES) -> Path:
    image = nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.diag([-0.3, 0.15, 1.0, 1.0]))
    image.header.set_xyzt_units("mm")
    image.header.set_zooms((0.3, 0.15, 1.0))
    nibabel.save(image, path)
    return path


def write_mhd(path: Path, frames: np.ndarray = FRAMES, *, compress: bool = False) -> Path:
    image = sitk.GetImageFromArray(frames)
    image.SetSpacing((0.3, 0.15, 1.0))
    image.SetOrigin((3.0, -4.5, 0.25))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


def write_video(path: Path, codec: str, pixels: str, frames: np.ndarray = FRAMES) -> Path:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=40, options={"qp": "0"} if codec == "libx264rgb" else {})
        track.height, track.width, track.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            values = np.repeat(frame[..., None], 3, axis=2) if pixels == "rgb24" and frame.ndim == 2 else frame
            container.mux(track.encode(av.VideoFrame.from_ndarray(values, format=pixels)))
        container.mux(track.encode())
    return path


def write_dicom(path: Path, frames: np.ndarray = FRAMES) -> Path:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = generate_uid(), generate_uid()
    header.PatientID, header.PatientName, header.Modality = "17", "Phantom^Ida", "US"
    header.FrameTime = "25"
    header.NumberOfFrames, header.Rows, header.Columns = frames.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    header.PixelSpacing = [0.15, 0.3]
    header.PixelData = frames.tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)
    return path


def write_images(path: Path, frames: np.ndarray = FRAMES) -> Path:
    path.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"frame{index + 7}.png")  # 7 … 11: natural order
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "clip.nii": write_nifti,
    "clip.nii.gz": write_nifti,
    "clip.mhd": write_mhd,
    "clip.mha": write_mhd,
    "compressed.mha": lambda path: write_mhd(path, compress=True),
    "clip.avi": lambda path: write_video(path, "ffv1", "gray"),
    "clip.mkv": lambda path: write_video(path, "ffv1", "gray"),
    "clip.mp4": lambda path: write_video(path, "libx264rgb", "rgb24"),
    "clip.mov": lambda path: write_video(path, "libx264rgb", "rgb24"),
    "clip.dcm": write_dicom,
    "IM0001": write_dicom,
    "images": write_images,
}
KNOWS_SPACING = ("nii", "nii.gz", "mhd", "mha", "dcm")


@pytest.fixture(params=MAKERS)
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path / request.param)


def read_masks(path: Path) -> np.ndarray:
    """Label values by each format's own reader, without the code under test."""
    name = path.name
    if path.is_dir():
        return np.stack([np.asarray(Image.open(path / f"frame{i + 7}.png")) for i in range(len(list(path.iterdir())))])
    if ".nii" in name:
        image: Any = nibabel.load(path)
        return np.asarray(image.dataobj).transpose(2, 1, 0)
    if path.suffix in (".mhd", ".mha"):
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    if path.suffix == ".dcm":
        return pydicom.dcmread(path).pixel_array
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24")[..., 0] for frame in container.decode(video=0)])


def test_frames_come_back_in_order_and_again(clip: Path) -> None:
    stream = open_stream(clip)
    for _ in range(2):
        frames = list(stream)
        assert all(frame.dtype == torch.float32 and frame.shape == (1, 14, 18) for frame in frames)
        torch.testing.assert_close(torch.cat(frames), torch.from_numpy(FRAMES / 255.0).float(), atol=1e-6, rtol=0)


def test_facts(clip: Path) -> None:
    stream = open_stream(clip)
    assert stream.size == (14, 18)
    assert stream.length == (None if clip.suffix == ".mkv" else 5)
    assert stream.channels == 1
    assert stream.name == clip.name.split(".")[0]
    if clip.name.endswith(KNOWS_SPACING) or clip.name == "IM0001":
        assert stream.spacing == pytest.approx((0.15, 0.3))
    else:
        assert stream.spacing is None
    assert stream.spacing_note
    expected = {"video": 40.0, "dicom": 40.0}.get(stream.kind)
    assert stream.fps == (pytest.approx(expected) if expected else None)
    assert not stream.notes


def test_two_iterations_do_not_disturb_each_other(clip: Path) -> None:
    stream = open_stream(clip)
    for first, second in zip(stream, stream, strict=True):
        assert torch.equal(first, second)


def test_masks_come_back_exactly_in_the_clips_own_kind(clip: Path, tmp_path: Path) -> None:
    stream = open_stream(clip)
    with open_mask_writer(stream, tmp_path / "out" / "masks.v1", structures=STRUCTURES) as writer:
        for mask in MASKS:
            writer.write(mask)
            assert not writer.path.exists()
    suffixes = "" if clip.is_dir() else ".dcm" if clip.name == "IM0001" else clip.name[clip.name.index(".") :]
    assert writer.path == tmp_path / "out" / f"masks.v1{suffixes}"
    assert np.array_equal(read_masks(writer.path), MASKS)
    back = open_stream(writer.path)
    assert type(back) is type(stream)
    assert (back.size, back.length, back.fps) == (stream.size, stream.length, stream.fps)
    assert back.spacing == (pytest.approx(stream.spacing) if stream.spacing else None)
    assert np.array_equal(np.stack([(frame[0] * 255).round().to(torch.uint8).numpy() for frame in back]), MASKS)
    leftovers = {item.name for item in writer.path.parent.iterdir()} - {writer.path.name, "masks.v1.raw"}
    assert not leftovers


def test_an_exception_leaves_what_was_there(clip: Path, tmp_path: Path) -> None:
    stream = open_stream(clip)
    out = tmp_path / "out" / "masks"
    with open_mask_writer(stream, out, structures=STRUCTURES) as writer:
        for mask in MASKS:
            writer.write(mask)
    before = {item.name for item in writer.path.parent.iterdir()}

    def break_off() -> None:
        with open_mask_writer(stream, out, structures=STRUCTURES) as writer:
            writer.write(np.zeros(stream.size, np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert {item.name for item in writer.path.parent.iterdir()} == before
    assert np.array_equal(read_masks(writer.path), MASKS)


class SmallDisk:
    """Counts what is written to it and has no more room after so many bytes."""

    def __init__(self, room: float):
        self.room, self.written = room, 0

    def take(self, size: int) -> None:
        self.written += size
        if self.written > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")


class FileOnSmallDisk:
    def __init__(self, file: Any, disk: SmallDisk):
        self._file, self._disk = file, disk

    def write(self, data: Any) -> int:
        self._disk.take(memoryview(data).nbytes)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def put_on(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the writers write goes to this disk."""
    real_init, real_save = AtomicFile.__init__, Image.Image.save

    def init(self: AtomicFile, path: Path) -> None:
        real_init(self, path)
        self.file = FileOnSmallDisk(self.file, disk)  # pyright: ignore[reportAttributeAccessIssue]

    def save(self: Image.Image, path: Path, **options: Any) -> None:
        disk.take(self.width * self.height)
        real_save(self, path, **options)

    monkeypatch.setattr(AtomicFile, "__init__", init)
    monkeypatch.setattr(Image.Image, "save", save)


def test_a_full_disk_is_one_clear_error_and_no_file(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream(clip)

    def run(room: float, out: Path) -> int:
        disk = SmallDisk(room)
        with monkeypatch.context() as patched:
            put_on(disk, patched)
            with open_mask_writer(stream, out / "masks", structures=STRUCTURES) as writer:
                for mask in MASKS:
                    writer.write(mask)
        return disk.written

    size = run(np.inf, tmp_path / "enough")
    assert size > 100
    for number, room in enumerate([0, 0.3 * size, 0.7 * size, 0.95 * size]):  # a DICOM file's UIDs vary in length
        out = tmp_path / f"full{number}"
        with pytest.raises(UserError, match="disk is full"):
            run(room, out)
        assert list(out.iterdir()) == []


def test_a_folder_is_replaced_without_a_moment_at_which_both_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "masks"
    path.mkdir()
    (path / "1.png").write_text("older")
    new = AtomicFolder(path, ["1.png"])
    (new.partial / "1.png").write_text("newer")
    real, renames = Path.replace, []

    def breaks_at_the_second(self: Path, target: Path) -> Path:
        renames.append(target)
        there = [item / "1.png" for item in tmp_path.iterdir()]
        assert {item.read_text() for item in there} == {"older", "newer"}
        if len(renames) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", breaks_at_the_second)
        with pytest.raises(OSError, match="Input/output error"):
            new.commit()
    assert (path / "1.png").read_text() == "older"
    new.commit()
    assert (path / "1.png").read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_masks_are_named_and_leave_no_file(clip: Path, tmp_path: Path) -> None:
    stream = open_stream(clip)
    good, out = np.zeros(stream.size, np.uint8), tmp_path / "out" / "masks"
    for bad, message in [
        (np.zeros((18, 14), np.uint8), r"wants uint8 \(14, 18\), got uint8 \(18, 14\)"),
        (good.astype(np.int64), "got int64"),
        (np.full_like(good, 255), "label 255 is not among"),
    ]:
        writer = open_mask_writer(stream, out, structures=STRUCTURES)
        writer.write(good)
        with pytest.raises(ValueError, match=message):
            writer.write(bad)
        with pytest.raises(ValueError, match="closed"):
            writer.write(good)
    if stream.length is not None:
        with (
            pytest.raises(ValueError, match="1 masks were written for 5"),
            open_mask_writer(stream, out, structures=STRUCTURES) as writer,
        ):
            writer.write(good)
    with pytest.raises(ValueError, match="0 masks"), open_mask_writer(stream, out, structures=STRUCTURES):
        pass
    assert list(out.parent.iterdir()) == []


def test_masks_never_overwrite_the_clip(clip: Path) -> None:
    out = clip if clip.is_dir() else clip.with_name(clip.name.split(".")[0])
    if clip.name == "IM0001":
        return  # its masks get a suffix that the clip lacks
    with pytest.raises(UserError, match="overwrite the clip"):
        open_mask_writer(open_stream(clip), out, structures=STRUCTURES)
    assert len(list(open_stream(clip))) == 5


def test_a_cut_file_is_refused_by_name(clip: Path) -> None:
    target = sorted(clip.iterdir())[0] if clip.is_dir() else clip
    target = target.with_suffix(".raw") if target.suffix == ".mhd" else target
    whole = target.read_bytes()
    target.write_bytes(whole[: int(len(whole) * 0.6)])
    with pytest.raises(DataError, match=clip.name):
        list(open_stream(clip))


@pytest.mark.parametrize("at", ["before it is opened", "before it is read"])
def test_a_file_that_may_not_be_read_is_told_as_that(clip: Path, at: str, as_nobody: Callable) -> None:
    """For each file of a clip; a damaged one is told otherwise."""
    files = sorted(clip.iterdir()) if clip.is_dir() else [clip]
    files = [*files[:2], *files[-1:]] if clip.suffix != ".mhd" else [clip, clip.with_suffix(".raw")]
    with as_nobody():
        stream = open_stream(clip)
    for closed in files:
        whole = closed.stat().st_mode
        closed.chmod(0o000)
        with as_nobody(), pytest.raises(DataError) as caught:
            list(stream if at == "before it is read" and closed.suffix != ".mhd" else open_stream(clip))
        closed.chmod(whole)
        assert (caught.value.file, caught.value.what) == (closed, "may not be read"), caught.value
        assert caught.value.remedy


def test_a_folder_that_may_not_be_entered_is_told_as_that(tmp_path: Path, as_nobody: Callable) -> None:
    clip = write_nifti(tmp_path / "clip.nii")
    (tmp_path / "below").mkdir(mode=0o000)
    tmp_path.chmod(0o755)
    for ask in (lambda: find_clips([tmp_path]), lambda: open_stream(tmp_path / "below")):
        with as_nobody(), pytest.raises(DataError, match="below: may not be entered or read"):
            ask()
    with as_nobody(), pytest.raises(DataError, match="below: may not be entered or read"):
        open_stream(tmp_path / "below" / "clip.nii")
    with as_nobody():
        assert find_clips([clip]) == [clip]


def test_frames_are_read_lazily(clip: Path) -> None:
    """Damage at the end does not touch the frames before it."""
    index_at_the_end = (".avi", ".mkv", ".mov", ".mp4")
    if clip.name.startswith("compressed") or clip.name.endswith(("gz", *index_at_the_end)):
        return  # read whole, read in blocks, or refused when opened
    stream = open_stream(clip)
    target = clip / "frame11.png" if clip.is_dir() else clip.with_suffix(".raw") if clip.suffix == ".mhd" else clip
    target.write_bytes(target.read_bytes()[:-60])
    frames = iter(stream)
    for expected in FRAMES[:4]:
        assert torch.equal(next(frames)[0], torch.from_numpy(expected / np.float32(255)))
    with pytest.raises(DataError, match="frame"):
        next(frames)


def test_nifti_keeps_affine_and_units(tmp_path: Path) -> None:
    stream = open_stream(write_nifti(tmp_path / "clip.nii.gz"))
    with open_mask_writer(stream, tmp_path / "masks", structures=STRUCTURES) as writer:
        for mask in MASKS:
            writer.write(mask)
    before: Any = nibabel.load(stream.path)
    after: Any = nibabel.load(writer.path)
    assert np.array_equal(before.affine, after.affine)
    assert before.header.get_xyzt_units() == after.header.get_xyzt_units()
    assert before.header.get_zooms() == after.header.get_zooms()
    assert after.get_data_dtype() == np.uint8
    assert b"1 left ventricle" in after.header["descrip"].item()


@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_metaimage_keeps_origin_and_direction(tmp_path: Path, suffix: str) -> None:
    stream = open_stream(write_mhd(tmp_path / f"clip{suffix}"))
    with open_mask_writer(stream, tmp_path / "masks", structures=STRUCTURES) as writer:
        for mask in MASKS:
            writer.write(mask)
    before, after = sitk.ReadImage(str(stream.path)), sitk.ReadImage(str(writer.path))
    assert before.GetOrigin() == after.GetOrigin()
    assert before.GetDirection() == after.GetDirection()
    assert before.GetSpacing() == after.GetSpacing()


@pytest.mark.parametrize("shape", [(18, 14), (18, 14, 1, 5)])
def test_other_nifti_shapes_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = FRAMES[: shape[-1] if len(shape) == 4 else 1].transpose(2, 1, 0).reshape(shape)
    image = nibabel.Nifti1Image(values, np.eye(4))
    if len(shape) == 4:
        image.header.set_xyzt_units("micron", "msec")
        image.header.set_zooms((300.0, 150.0, 1.0, 20.0))
    nibabel.save(image, tmp_path / "clip.nii")
    stream = open_stream(tmp_path / "clip.nii")
    frames = list(stream)
    assert torch.allclose(torch.cat(frames), torch.from_numpy(FRAMES[: len(frames)] / np.float32(255)))
    assert stream.fps == (pytest.approx(50) if len(shape) == 4 else None)
    assert stream.spacing == (pytest.approx((0.15, 0.3)) if len(shape) == 4 else None)
    with open_mask_writer(stream, tmp_path / "masks", structures=STRUCTURES) as writer:
        for mask in MASKS[: len(frames)]:
            writer.write(mask)
    after: Any = nibabel.load(writer.path)
    assert after.shape == shape
    assert np.array_equal(np.asarray(after.dataobj).reshape(18, 14, -1).transpose(2, 1, 0), MASKS[: len(frames)])


def test_dicom_masks_refer_to_the_clip(tmp_path: Path) -> None:
    stream = open_stream(write_dicom(tmp_path / "clip.dcm", FRAMES[:3, :5, :7]))  # an odd number of bytes is padded
    with open_mask_writer(stream, tmp_path / "masks", structures=STRUCTURES) as writer:
        for mask in MASKS[:3, :5, :7]:
            writer.write(mask)
    before, after = pydicom.dcmread(stream.path), pydicom.dcmread(writer.path)
    assert np.array_equal(after.pixel_array, MASKS[:3, :5, :7])
    assert after.SOPClassUID.name == "Multi-frame Grayscale Byte Secondary Capture Image Storage"
    assert (after.PatientID, after.PatientName) == (before.PatientID, before.PatientName)
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert len({before.SOPInstanceUID, after.SOPInstanceUID, before.SeriesInstanceUID, after.SeriesInstanceUID}) == 4
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.FrameTime == 25
    assert "2 myocardium" in after.DerivationDescription
    assert len(after.PixelData) % 2 == 0


def test_image_masks_have_the_images_names(tmp_path: Path) -> None:
    stream = open_stream(write_images(tmp_path / "images"))
    out = tmp_path / "masks"
    for _ in range(2):  # the second run replaces the first
        with open_mask_writer(stream, out, structures=STRUCTURES) as writer:
            for mask in MASKS:
                writer.write(mask)
    assert sorted(item.name for item in out.iterdir()) == sorted(item.name for item in stream.path.iterdir())
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        open_mask_writer(stream, out, structures=STRUCTURES)
    assert (out / "notes.txt").exists()


def test_images_whose_masks_would_collide_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    Image.fromarray(FRAMES[0]).save(folder / "frame7.bmp")
    with pytest.raises(DataError, match=r"2 images would have the mask frame7\.png"):
        open_mask_writer(open_stream(folder), tmp_path / "masks", structures=STRUCTURES)
