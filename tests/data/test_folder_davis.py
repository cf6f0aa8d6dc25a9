"""The folder reader on DAVIS's tree."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memx.data.folder import Folder
from memx.errors import DataError


@pytest.fixture
def davis(make_folder, tmp_path: Path):
    """The clips of `make_folder`, laid out as DAVIS 2017 is: sizes, years, JPEG pictures (here of the same pixels)."""

    def make(sizes: tuple[str, ...] = ("480p",), years: tuple[str, ...] = ("2016", "2017")) -> Path:
        plain, root = make_folder(3), tmp_path / "DAVIS"
        for size in sizes:
            for ours, theirs in (("images", "JPEGImages"), ("masks", "Annotations")):
                shutil.copytree(plain / ours, root / theirs / size)
            for path in list((root / "JPEGImages" / size).rglob("*.png")):
                with Image.open(path) as image:
                    image.save(path.with_suffix(".jpg"), quality=95)
                path.unlink()
        for year in years:
            folder = root / "ImageSets" / year
            folder.mkdir(parents=True)
            train, val = ("clip1\nclip3\n", "clip2\n") if year == years[-1] else ("clip2\n", "clip1\n")
            (folder / "train.txt").write_text(train)
            (folder / "val.txt").write_text(val)
        return root

    return make


def _load(root: Path, name: str = "clip1", **options):
    layout = Folder(**options)
    return layout.load(next(case for case in layout.cases(root) if case.id == name))


@pytest.mark.parametrize("sizes", [("480p",), ("",)])
def test_it_reads_what_the_plain_tree_holds(davis, sizes, tmp_path):
    clip, plain = _load(davis(sizes)), _load(tmp_path / "folder")
    torch.testing.assert_close(clip.labels, plain.labels)
    assert torch.equal(clip.labelled, plain.labelled)
    assert clip.labels.unique().tolist() == [0, 1, 2, 3]
    assert clip.video.shape == plain.video.shape
    assert (clip.video - plain.video).abs().mean() < 0.05


def test_the_lists_of_the_last_year_decide(davis):
    layout, root = Folder(), davis()
    assert [case.id for case in layout.cases(root, "train")] == ["clip1", "clip3"]
    assert [case.id for case in layout.cases(root, "val")] == ["clip2"]
    with pytest.raises(DataError, match="no cases in split 'test'; usable cases: train 2, val 1, test 0"):
        layout.cases(root, "test")


def test_lists_may_lie_in_imagesets_itself_or_be_missing(davis):
    root = davis(years=("2017",))
    for path in (root / "ImageSets" / "2017").iterdir():
        path.rename(root / "ImageSets" / path.name)
    assert [case.id for case in Folder().cases(root, "val")] == ["clip2"]
    shutil.rmtree(root / "ImageSets")
    assert {case.split for case in Folder().cases(root)} == {"train", "val", "test"}


def test_one_of_several_sizes_is_chosen_by_name(davis):
    root = davis(("480p", "Full-Resolution"))
    with pytest.raises(DataError, match=r"several sizes, 480p, Full-Resolution; choose one"):
        Folder().cases(root)
    assert "Full-Resolution" in str(_load(root, resolution="Full-Resolution").source)
    with pytest.raises(DataError, match=r"there is no '720p'; there is 480p, Full-Resolution"):
        Folder(resolution="720p").cases(root)


def test_a_resolution_of_the_plain_tree_is_refused(make_folder):
    with pytest.raises(DataError, match="is for DAVIS's layout"):
        Folder(resolution="480p").cases(make_folder())


def test_the_void_label_is_refused_by_name(davis):
    root = davis()
    path = root / "Annotations" / "480p" / "clip1" / "1.png"
    with Image.open(path) as image:
        labels = np.array(image)
    labels[0, 0] = 255
    Image.fromarray(labels).save(path)
    with pytest.raises(DataError, match=r"1.png: label values 0, 1, 2, 3, 255 found, 0..20 allowed"):
        _load(root)
