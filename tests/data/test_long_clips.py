"""2,000 frames: held in little more than their pixels, and refused by name where even that is too much."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from memx.data import ClipDataset, pixels
from memx.data.echonet import EchoNet
from memx.data.folder import Folder
from memx.errors import DataError

MEASURE = r"""
import re, sys
from pathlib import Path
from memx.data import ClipDataset
from memx.data.folder import Folder

peak = lambda: 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
layout = Folder()
cases = layout.cases(Path(sys.argv[1]))
before = peak()
items = ClipDataset(layout, cases, size=64, frames=8, sampling="window", structures={"o": [1]}, draws=1)
assert items[0]["video"].shape == (8, 1, 64, 64)
print(peak() - before)
"""


def _write(root: Path, frames: int, size: tuple[int, int]) -> Path:
    """A folder of one colour clip; its frames are links to one file."""
    picture = np.zeros((*size, 3), np.uint8)
    picture[::7] = 200
    mask = np.zeros(size, np.uint8)
    mask[100:200, 100:200] = 1
    for folder, first, array in (("images", "0.jpg", picture), ("masks", "0.png", mask)):
        clip = root / folder / "clip"
        clip.mkdir(parents=True)
        Image.fromarray(array).save(clip / first)
        for t in range(1, frames):
            os.link(clip / first, (clip / str(t)).with_suffix(Path(first).suffix))
    return root


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_clip_of_davis_size_takes_little_more_than_its_pixels(tmp_path: Path) -> None:
    """Four bytes a colour value and one a label are 13 bytes a pixel, here to a fifth of it."""
    frames, y, x = 200, 480, 854
    root = _write(tmp_path, frames, (y, x))
    grown = int(subprocess.run([sys.executable, "-c", MEASURE, root], check=True, capture_output=True).stdout)
    assert 0.8 < grown / (13 * frames * y * x) < 1.2


def test_two_thousand_colour_frames_of_davis_size_are_refused_before_they_are_read(tmp_path: Path, monkeypatch) -> None:
    root = _write(tmp_path, 2000, (480, 854))
    layout = Folder()
    case = layout.cases(root)[0]
    decoded = []
    monkeypatch.setattr("memx.data.streams.images.read_image", decoded.append)
    message = (
        "images/clip: 2000 colour frames of 480 × 854 pixels (y × x) are 9.2 GiB of 32-bit numbers, and a clip for "
        "training or scoring is held whole, in 4 GiB at most; cut it into shorter clips, or write its frames smaller"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        ClipDataset(layout, [case], size=64, sampling="window", structures={"o": [1]}, draws=1)[0]
    assert not decoded


def test_two_thousand_grey_frames_of_that_size_fit() -> None:
    pixels.check_fits(Path("clip"), 2000, 1, (480, 854))


def test_videos_are_refused_before_they_are_read(make_echonet, monkeypatch) -> None:
    layout = EchoNet()
    case = layout.cases(make_echonet(frames=9))[0]
    monkeypatch.setattr(pixels, "LARGEST", 4 * 9 * 32 * 32)
    layout.load(case)
    monkeypatch.setattr(pixels, "LARGEST", 4 * 9 * 32 * 32 - 1)
    with pytest.raises(DataError, match=r"A.avi: 9 grey frames of 32 × 32 pixels .* cut it into shorter clips"):
        layout.load(case)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd"])
def test_camus_pictures_are_refused_before_they_are_read(tmp_path: Path, monkeypatch, suffix: str) -> None:
    from memx.data.camus_image import read_picture

    file = tmp_path / f"a{suffix}"
    if suffix == ".mhd":
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((7, 30, 20), np.uint8)), str(file))
    else:
        nibabel.save(nibabel.Nifti1Image(np.ones((20, 30, 7), np.uint8), np.eye(4)), file)
    monkeypatch.setattr(pixels, "LARGEST", 4 * 7 * 30 * 20)
    assert read_picture(file, 3).pixels.shape == (7, 30, 20)
    monkeypatch.setattr(pixels, "LARGEST", 4 * 7 * 30 * 20 - 1)
    with pytest.raises(DataError, match=r"7 grey frames of 30 × 20 pixels"):
        read_picture(file, 3)
