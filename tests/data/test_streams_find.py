"""Which files and folders are clips, and one clear error for what is none."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image

from memx.data.streams import find_clips, open_stream
from memx.errors import DataError


def picture(path: Path, size: tuple[int, int] = (8, 6), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def touch(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_a_folder_is_searched_in_natural_order(tmp_path: Path) -> None:
    for name in ("patient10/clip.avi", "patient2/b.nii.gz", "patient2/a.mhd", "patient2/a.raw", "notes.txt"):
        touch(tmp_path / name)
    touch(tmp_path / "pacs" / "IM0001", b"\0" * 128 + b"DICM")
    touch(tmp_path / "pacs" / "DICOMDIR", b"\0" * 128 + b"DICM")
    touch(tmp_path / "patient2" / "b_gt.nii.gz")
    touch(tmp_path / ".hidden" / "clip.avi")
    touch(tmp_path / "patient2" / "._b.nii.gz")
    for index in (1, 2, 10):
        picture(tmp_path / "frames" / f"f{index}.png")
    expected = ["frames", "pacs/IM0001", "patient2/a.mhd", "patient2/b.nii.gz", "patient10/clip.avi"]
    assert [str(clip.relative_to(tmp_path)) for clip in find_clips([tmp_path])] == expected


def test_files_are_taken_as_they_are_and_each_clip_once(tmp_path: Path) -> None:
    for name in ("b.avi", "a.avi", "a_gt.nii.gz"):
        touch(tmp_path / name)
    ground_truth, b = tmp_path / "a_gt.nii.gz", tmp_path / "b.avi"
    assert find_clips([ground_truth, b, tmp_path, str(b)]) == [ground_truth, b, tmp_path / "a.avi"]


def test_images_beside_clips_are_no_clip(tmp_path: Path) -> None:
    touch(tmp_path / "clip.avi")
    picture(tmp_path / "thumbnail.png")
    assert find_clips([tmp_path]) == [tmp_path / "clip.avi"]


@pytest.mark.parametrize("masks", ["masks.avi", "masks.nii.gz", "masks/f1.png"])
def test_what_a_prediction_wrote_is_no_clip(tmp_path: Path, masks: str) -> None:
    clip, written = tmp_path / "a.avi", tmp_path / "out" / "a"
    touch(clip)
    for name in ("summary.json", "overlay.mp4", "curve.csv", "curve.png", masks):
        touch(written / name)
    touch(tmp_path / "out" / "report.html")
    assert find_clips([tmp_path]) == [clip]
    with pytest.raises(DataError, match="results of `memx predict` are none"):
        find_clips([tmp_path / "out"])
    assert find_clips([written / "overlay.mp4"]) == [written / "overlay.mp4"], "a file is taken as it is"
    (written / "summary.json").unlink()
    assert written / "overlay.mp4" in find_clips([tmp_path]), "no summary, no prediction"


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "clip.avi")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert find_clips([tmp_path]) == [tmp_path / "a" / "clip.avi"]


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no clip in this folder or below"):
        find_clips([tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        find_clips([tmp_path / "elsewhere"])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("clip.xyz", b"what is this", r"not a kind of clip .* \.nii"),
        ("frame.png", b"x", "one image is no clip"),
        ("clip.avi", b"", "the file is empty"),
        ("clip.nii", b"no header", "not a readable NIfTI file"),
        ("clip.nii.gz", b"no gzip", "not a readable NIfTI file"),
        ("clip.mhd", b"no header", "not a readable MetaImage header"),
        ("clip.mp4", b"no video", "not a readable video"),
    ],
)
def test_a_file_that_is_no_clip(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    touch(tmp_path / name, data)
    with pytest.raises(DataError, match=message) as caught:
        open_stream(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        open_stream(tmp_path / "clip.avi")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in this folder"):
        open_stream(tmp_path)


def test_images_of_differing_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", (9, 6))
    with pytest.raises(DataError, match=r"b\.png: this frame is 9 × 6 pixels .* the first, a\.png, is 8 × 6"):
        open_stream(tmp_path)


def test_an_image_that_is_none(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    touch(tmp_path / "b.png", b"text")
    with pytest.raises(DataError, match=r"b\.png: cannot be read as an image"):
        open_stream(tmp_path)


def test_an_image_of_many_pages(tmp_path: Path) -> None:
    page = Image.new("L", (8, 6))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(DataError, match="several pages"):
        open_stream(tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_kind_of_image_is_read(tmp_path: Path, mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (6, 8), dtype=np.uint8) * 255
    Image.fromarray(values).convert(mode).save(tmp_path / "a.png")
    for colour, channels in ((False, 1), (True, 3 if mode in ("P", "RGB", "RGBA") else 1)):
        stream = open_stream(tmp_path, colour=colour)
        assert stream.channels == channels
        (frame,) = stream
        assert frame.shape == (channels, 6, 8)
        torch.testing.assert_close(frame, torch.from_numpy(values / 255).float().expand(channels, 6, 8))


def test_grey_and_colour_images_mix(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", mode="RGB")
    assert [frame.shape for frame in open_stream(tmp_path, colour=True)] == [(3, 6, 8)] * 2
    assert [frame.shape for frame in open_stream(tmp_path)] == [(1, 6, 8)] * 2


def test_nan_pixels_are_refused_by_frame(tmp_path: Path) -> None:
    values = np.zeros((8, 6, 4), np.float32)
    values[3, 2, 1:3] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "clip.nii")
    sitk.WriteImage(sitk.GetImageFromArray(values.T), str(tmp_path / "clip.mha"))
    for name in ("clip.nii", "clip.mha"):
        with pytest.raises(DataError, match=f"{name}: frame 1 has 1 NaN or infinite"):
            next(iter(open_stream(tmp_path / name)))


@pytest.mark.parametrize("shape", [(8, 6, 4, 3), (8, 6, 2, 2, 2), (8,)])
def test_a_volume_is_no_clip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), tmp_path / "clip.nii")
    with pytest.raises(DataError, match=r"a clip is \(x, y, t\)"):
        open_stream(tmp_path / "clip.nii")


def test_a_mhd_without_its_pixels(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 6, 8), np.uint8)), str(tmp_path / "clip.mhd"))
    (tmp_path / "clip.raw").unlink()
    with pytest.raises(DataError, match=r"clip\.raw\) are missing"):
        list(open_stream(tmp_path / "clip.mhd"))


@pytest.mark.parametrize("unit", ["unknown", "mm", "meter"])
def test_nifti_spacing_says_where_it_comes_from(tmp_path: Path, unit: str) -> None:
    image = nibabel.Nifti1Image(np.zeros((8, 6, 2), np.uint8), np.eye(4))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "clip.nii")
    stream = open_stream(tmp_path / "clip.nii")
    assert stream.spacing == {"unknown": None, "mm": (1.0, 1.0), "meter": (1000.0, 1000.0)}[unit]
    assert ("without a unit" if unit == "unknown" else unit) in stream.spacing_note
