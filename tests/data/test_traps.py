"""The traps of the public data sets, planted in data that the phantom wrote; docs/data.md lists trap and test."""

import csv
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from memx.data import Clip, phantom, resize_clip
from memx.data.camus import Camus
from memx.data.echonet import EchoNet
from memx.data.phantom.population import alike_in_both_planes
from memx.data.polygon import fill_polygon

SEED, LV = 3, 1
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def camus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("traps") / "camus"
    phantom.write(root, layout="camus", patients=6, seed=SEED, size=64, frames=5)
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("traps") / "echonet"
    phantom.write(root, layout="echonet", patients=3, seed=SEED, size=64)
    return root


@pytest.fixture
def echonet(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "echonet")


def _clips(layout, root: Path) -> dict[str, Clip]:
    return {case.id: layout.load(case) for case in layout.cases(root)}


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))


def _write(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def test_sequences_that_run_from_es_to_ed_are_turned_round(camus: Path) -> None:
    turned = 0
    for name, clip in _clips(Camus(), camus).items():
        patient, view = name.split("_")
        truth = phantom.simulate(phantom.patient(SEED, int(patient[-4:]) - 1), view, size=64, frames=5)
        backwards = truth.ed > truth.es
        turned += backwards
        step = -1 if backwards else 1
        assert (clip.ed, clip.es) == (0, 4)
        np.testing.assert_array_equal(clip.labels.numpy(), truth.labels[::step])
        np.testing.assert_allclose(clip.video[:, 0].numpy() * 255, truth.video[::step], atol=1e-4)
    assert turned == 2


def test_axes_are_t_y_x_as_simpleitk_has_them_and_not_nibabels_x_y_t(camus: Path) -> None:
    layout = Camus()
    for case in layout.cases(camus):
        clip, file = layout.load(case), str(case.files["video"])
        by_itk = sitk.GetArrayFromImage(sitk.ReadImage(file))
        by_nibabel = np.asarray(nibabel.load(file).dataobj)
        np.testing.assert_array_equal(by_itk, by_nibabel.transpose(2, 1, 0))
        assert by_itk.shape[1] != by_itk.shape[2], "a square frame would hide the mistake"
        step = 1 if "ED: 1\n" in case.files["info"].read_text() else -1
        np.testing.assert_allclose(clip.video[:, 0].numpy() * 255, by_itk[::step], atol=1e-4)
        x_mm, y_mm, _ = sitk.ReadImage(file).GetSpacing()
        assert clip.spacing == pytest.approx((y_mm, x_mm))


@pytest.mark.parametrize("size", [32, 64, (96, 56)])
def test_anisotropic_spacing_goes_along_with_every_resize(camus: Path, size) -> None:
    for clip in _clips(Camus(), camus).values():
        assert clip.spacing[1] == pytest.approx(2 * clip.spacing[0], rel=1e-4), "pixels twice as wide as high"
        small = resize_clip(clip, size)
        for resized in (small, resize_clip(resize_clip(clip, (57, 71)), size)):
            extents = [tuple(n * mm for n, mm in zip(c.size, c.spacing, strict=True)) for c in (clip, resized)]
            assert extents[1] == pytest.approx(extents[0])
        before, after = (int((c.labels == LV).sum()) for c in (clip, small))
        area = before * clip.spacing[0] * clip.spacing[1]
        assert after * small.spacing[0] * small.spacing[1] == pytest.approx(area, rel=0.15)
        assert after * clip.spacing[0] * clip.spacing[1] != pytest.approx(area, rel=0.15), "with the file's own spacing"


def test_the_outline_is_x1_down_and_x2_up_again(echonet: Path) -> None:
    """A polygon of all x1 and then all x2, both downwards, crosses itself and is not the ventricle."""
    traced: dict[tuple[str, int], list[list[float]]] = {}
    for name, *numbers, frame in _rows(echonet / "VolumeTracings.csv")[1:]:
        traced.setdefault((name.removesuffix(".avi"), int(frame)), []).append([float(n) for n in numbers])
    clips = _clips(EchoNet(), echonet)
    assert len(clips) == 3
    for index, row in enumerate(_rows(echonet / "FileList.csv")[1:]):
        clip = clips[row[0]]
        person = alike_in_both_planes(phantom.patient(SEED, index))
        truth = phantom.simulate(person, "4CH", size=64, span="cycle", square=True, images=False)
        for frame in (clip.ed, clip.es):
            x1, y1, x2, y2 = np.array(traced[row[0], frame]).T
            crossed = fill_polygon(np.r_[x1[1:], x2[1:]], np.r_[y1[1:], y2[1:]], (64, 64), edges=True)
            dice = [
                2 * (mask & ventricle).sum() / (mask.sum() + ventricle.sum())
                for mask in (clip.labels[frame].numpy() == LV, crossed)
                for ventricle in [truth.labels[frame] == LV]
            ]
            assert dice[0] > 0.9
            assert dice[1] < 0.8


def test_videos_without_tracings_and_tracings_without_videos_are_left_out(echonet: Path) -> None:
    names = [row[0] for row in _rows(echonet / "FileList.csv")[1:]]
    tracings = _rows(echonet / "VolumeTracings.csv")
    ghost = [["0X4F8859C8AB4DA9CB.avi", *row[1:]] for row in tracings[1:] if row[0].startswith(names[1])]
    _write(echonet / "VolumeTracings.csv", [row for row in tracings if not row[0].startswith(names[0])] + ghost)
    (echonet / "Videos" / f"{names[2]}.avi").unlink()
    survey = EchoNet().survey(echonet)
    assert [case.id for case in survey.cases] == [names[1]]
    assert {item.what: item.why for item in survey.skipped} == {
        names[0]: "no tracing",
        names[2]: "traced, but there is no such video",
        "0X4F8859C8AB4DA9CB": "traced, but not in FileList.csv",
    }


def test_ed_after_es_is_told_by_area(echonet: Path) -> None:
    """The video of one patient is played backwards, its tracings with it, in whatever order the rows stand."""
    name = _rows(echonet / "FileList.csv")[1][0]
    before = _clips(EchoNet(), echonet)[name]
    last = len(before) - 1
    tracings = _rows(echonet / "VolumeTracings.csv")
    mine = [[*row[:5], str(last - int(row[5]))] for row in tracings[1:] if row[0].startswith(name)]
    _write(echonet / "VolumeTracings.csv", [row for row in tracings if not row[0].startswith(name)] + mine)
    after = _clips(EchoNet(), echonet)[name]
    assert (after.ed, after.es) == (last - before.ed, last - before.es)
    assert (before.ed < before.es) != (after.ed < after.es)
    torch.testing.assert_close(after.labels[after.ed], before.labels[before.ed])
    assert (after.labels[after.ed] == LV).sum() > (after.labels[after.es] == LV).sum()


def test_filelist_has_no_avi_and_the_tracings_have(echonet: Path) -> None:
    listed = {row[0] for row in _rows(echonet / "FileList.csv")[1:]}
    traced = {row[0] for row in _rows(echonet / "VolumeTracings.csv")[1:]}
    assert traced == {f"{name}.avi" for name in listed}
    assert {case.id for case in EchoNet().cases(echonet)} == listed


def test_every_test_that_the_documentation_names_is_there() -> None:
    table = (HERE.parents[1] / "docs" / "data.md").read_text().split("## Traps", 1)[1].split("\n## ", 1)[0]
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", table)
    assert len(named) >= 8
    for file, test in named:
        assert f"def {test}(" in (HERE / file).read_text(), f"{file}::{test}"
