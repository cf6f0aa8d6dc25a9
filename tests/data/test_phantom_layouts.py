"""What the phantom writes, read back with nibabel, PyAV and csv alone."""

from __future__ import annotations

import csv
import errno
import json
from collections import defaultdict
from pathlib import Path

import av
import nibabel
import numpy as np
import pytest

from memx.data import phantom
from memx.data.phantom.dataset import split
from memx.data.phantom.echonet import tracing
from memx.data.phantom.population import alike_in_both_planes
from memx.data.polygon import fill_polygon
from memx.data.streams import open_stream
from memx.errors import UserError
from memx.metrics.clinical import simpson_single

SEED = 3


@pytest.fixture(scope="module")
def camus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts") / "camus"
    phantom.write(root, layout="camus", patients=6, seed=SEED, size=64, frames=4)
    return root


@pytest.fixture(scope="module")
def echonet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts") / "echonet"
    phantom.write(root, layout="echonet", patients=3, seed=SEED)
    return root


def info(path: Path) -> dict[str, str]:
    return dict(line.split(": ") for line in path.read_text().splitlines())


def test_camus_files_are_the_real_ones(camus: Path) -> None:
    folders = sorted((camus / "database_nifti").iterdir())
    assert [folder.name for folder in folders] == [f"patient{i:04d}" for i in range(1, 7)]
    for folder in folders:
        names = {f"Info_{view}.cfg" for view in ("2CH", "4CH")} | {
            f"{folder.name}_{view}_{what}{gt}.nii.gz"
            for view in ("2CH", "4CH")
            for what in ("ED", "ES", "half_sequence")
            for gt in ("", "_gt")
        }
        assert {path.name for path in folder.iterdir()} == names


def test_camus_arrays_spacing_and_cfg_agree(camus: Path) -> None:
    backwards = 0
    for index, folder in enumerate(sorted((camus / "database_nifti").iterdir())):
        person = phantom.patient(SEED, index)
        for view in ("2CH", "4CH"):
            clip = phantom.simulate(person, view, size=64, frames=4)
            cfg = info(folder / f"Info_{view}.cfg")
            assert list(cfg) == ["ED", "ES", "NbFrame", "Sex", "Age", "ImageQuality", "EF", "FrameRate"]
            assert float(cfg["EF"]) == pytest.approx(person.ef, abs=0.051)
            assert cfg["ImageQuality"] == person.quality
            ed, es = int(cfg["ED"]), int(cfg["ES"])
            assert {ed, es} == {1, int(cfg["NbFrame"])}
            backwards += ed > es
            for gt, array in (("", clip.video), ("_gt", clip.labels)):
                whole = nibabel.load(folder / f"{folder.name}_{view}_half_sequence{gt}.nii.gz")
                data = np.asarray(whole.dataobj)
                assert data.dtype == np.uint8
                assert whole.header.get_xyzt_units() == ("mm", "sec")
                assert np.array_equal(data.transpose(2, 1, 0), array), "NIfTI is (x, y, t)"
                width, height = whole.header.get_zooms()[:2]
                assert (height, width) == pytest.approx(clip.spacing, rel=1e-5)
                assert width == pytest.approx(2 * height, rel=1e-5), "anisotropic, as in CAMUS's older release"
                for frame, at in (("ED", ed), ("ES", es)):
                    still = nibabel.load(folder / f"{folder.name}_{view}_{frame}{gt}.nii.gz")
                    assert np.array_equal(np.asarray(still.dataobj), data[..., at - 1])
                    assert still.header.get_zooms() == pytest.approx((width, height))
                    assert still.header.get_xyzt_units()[0] == "mm"
            area = (clip.labels == 1).sum(axis=(1, 2))
            assert area[ed - 1] > area[es - 1]
    assert backwards == 2, "one patient in six runs from ES to ED, in both views"


def test_camus_splits_are_disjoint_and_complete(camus: Path) -> None:
    lists = {p.stem: p.read_text().split() for p in (camus / "database_split").iterdir()}
    assert set(lists) == {"subgroup_training", "subgroup_validation", "subgroup_testing"}
    assert all(lists.values())
    together = [name for names in lists.values() for name in names]
    assert sorted(together) == [f"patient{i:04d}" for i in range(1, 7)]


def test_the_summary_tells_the_truth(camus: Path) -> None:
    summary = json.loads((camus / "memx.json").read_text())
    assert (summary["seed"], summary["layout"], summary["size"]) == (SEED, "camus", 64)
    for entry in summary["patients"]:
        person = phantom.patient(SEED, entry["index"])
        assert entry["ef"] == pytest.approx(person.ef, abs=1e-3)
        assert entry["ef"] == pytest.approx(100 * (1 - entry["esv_ml"] / entry["edv_ml"]), abs=0.01)


def test_a_patient_does_not_depend_on_how_many_there_are(camus: Path, tmp_path: Path) -> None:
    phantom.write(tmp_path / "two", layout="camus", patients=2, seed=SEED, size=64, frames=4)
    for path in (tmp_path / "two" / "database_nifti").rglob("*.nii.gz"):
        ours, theirs = nibabel.load(path), nibabel.load(camus / path.relative_to(tmp_path / "two"))
        assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
        assert np.array_equal(ours.affine, theirs.affine)


@pytest.mark.parametrize("patients", [1, 2, 3, 4, 7, 24, 100])
def test_splits_are_about_70_15_15(patients: int) -> None:
    parts = split(patients, seed=0)
    assert len(parts) == patients
    if patients >= 3:
        assert {"train", "val", "test"} == set(parts)
        assert parts.count("val") == parts.count("test") == max(1, round(0.15 * patients))
    assert parts == split(patients, seed=0)


def test_echonet_tables_and_videos_agree(echonet: Path) -> None:
    with (echonet / "FileList.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split",
    ]  # fmt: skip
    assert {row["Split"] for row in rows} == {"TRAIN", "VAL", "TEST"}
    assert {path.stem for path in (echonet / "Videos").glob("*.avi")} == {row["FileName"] for row in rows}
    for index, row in enumerate(rows):
        person = phantom.patient(SEED, index)
        assert float(row["EF"]) == pytest.approx(person.ef, abs=1e-3)
        with av.open(str(echonet / "Videos" / f"{row['FileName']}.avi")) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.average_rate) == ("mjpeg", 50)
            frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(stream)])
        assert frames.shape == (int(row["NumberOfFrames"]), int(row["FrameHeight"]), int(row["FrameWidth"]))
        assert frames.shape[1:] == (112, 112)
        clip = phantom.simulate(alike_in_both_planes(person), "4CH", size=112, span="cycle", fps=50, square=True)
        assert np.abs(frames.astype(float) - clip.video).mean() < 3, "JPEG may blur a little"


def test_echonet_tracings_are_the_ventricle(echonet: Path) -> None:
    with (echonet / "FileList.csv").open() as file:
        names = [row["FileName"] for row in csv.DictReader(file)]
    tracings: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    with (echonet / "VolumeTracings.csv").open() as file:
        for row in csv.DictReader(file):
            tracings[row["FileName"], int(row["Frame"])].append([float(row[k]) for k in ("X1", "Y1", "X2", "Y2")])
    assert len(tracings) == 2 * len(names)
    for index, name in enumerate(names):
        person = alike_in_both_planes(phantom.patient(SEED, index))
        clip = phantom.simulate(person, "4CH", size=112, span="cycle", square=True, images=False)
        areas = {}
        for at in (clip.ed, clip.es):
            lines = np.array(tracings[f"{name}.avi", at])
            assert lines.shape == (21, 4)
            x1, y1, x2, y2 = lines.T
            polygon = np.stack((np.append(x1[1:], x2[1:][::-1]), np.append(y1[1:], y2[1:][::-1])), axis=1)
            mask, truth = fill_polygon(polygon[:, 0], polygon[:, 1], (112, 112), edges=False), clip.labels[at] == 1
            assert 2 * np.sum(mask & truth) / (mask.sum() + truth.sum()) > 0.94
            assert y1[0] < y2[0], "the long axis runs from the apex down to the base"
            axis, chords = lines[0, 2:] - lines[0, :2], lines[1:, 2:] - lines[1:, :2]
            assert np.abs(chords @ axis).max() < 1e-2 * np.linalg.norm(axis), "chords lie across the axis"
            areas[at] = mask.sum()
        assert areas[clip.ed] > areas[clip.es]


@pytest.mark.parametrize("seed", range(6))
def test_echonets_one_view_tells_the_ef_it_was_made_with(seed: int) -> None:
    """Simpson's single-plane EF of the exact masks at the layout's own size, and of the tracings that are written."""
    for index in range(8):
        person = alike_in_both_planes(phantom.patient(seed, index))
        clip = phantom.simulate(person, "4CH", size=112, span="cycle", square=True, images=False)
        edv, esv = (simpson_single(clip.labels[at] == 1, clip.spacing).value for at in (clip.ed, clip.es))
        assert 100 * (1 - esv / edv) == pytest.approx(person.ef, abs=2.0), (seed, index)
        traced = []
        for at in (clip.ed, clip.es):
            ends = tracing(clip.outline[at])
            axis, *chords = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
            traced.append(axis * np.sum(np.square(chords)))
        assert 100 * (1 - traced[1] / traced[0]) == pytest.approx(person.ef, abs=2.0), (seed, index)


def test_alike_in_both_planes_changes_the_motion_of_the_unseen_plane_only() -> None:
    person = phantom.patient(SEED, 0)
    alike = alike_in_both_planes(person)
    assert (alike.ef, alike.edv, alike.esv, alike.views) == (person.ef, person.edv, person.esv, person.views)
    for here, there in (("septal", "inferior"), ("lateral", "anterior")):
        assert alike.heart.walls[here] == alike.heart.walls[there] == person.heart.walls[here]
    first, second = (
        phantom.simulate(p, "4CH", size=64, span="cycle", square=True, images=False) for p in (person, alike)
    )
    np.testing.assert_array_equal(first.outline[first.ed], second.outline[second.ed])
    np.testing.assert_allclose(first.volumes, second.volumes, rtol=1e-9)


def test_a_clip_of_camus_says_its_unit(camus: Path) -> None:
    stream = open_stream(next(camus.rglob("*4CH_half_sequence.nii.gz")))
    assert stream.spacing is not None
    assert stream.spacing_note == "NIfTI header (pixdim, mm)"


@pytest.mark.parametrize(("layout", "frames"), [("camus", 2), ("echonet", None)])
def test_a_full_disk_is_one_clear_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: phantom.LayoutName, frames: int | None
) -> None:
    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    monkeypatch.setattr("memx.data.phantom.echonet._table", full)
    with pytest.raises(UserError, match=r"out: the disk is full; free some space"):
        phantom.write(tmp_path / "out", layout=layout, patients=1, size=64, frames=frames)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(UserError, match="cannot be written"):
        phantom.write(tmp_path / "file" / "out", layout="camus", patients=1, size=64)


def test_a_name_that_was_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    def take(done: int, total: int) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("keep")

    with pytest.raises(UserError, match=r"out: cannot be written"):
        phantom.write(tmp_path / "out", layout="camus", patients=1, size=64, frames=2, progress=take)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.txt", "out"]


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        phantom.write(tmp_path / "out", layout="camus", patients=1, seed=0, size=64)
    (tmp_path / "file").write_text("keep")
    with pytest.raises(UserError, match="is a file"):
        phantom.write(tmp_path / "file", layout="camus", patients=1, seed=0, size=64)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine.txt", "out"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    phantom.write(tmp_path / "out", layout="camus", patients=1, seed=0, size=64, frames=2)
    assert (tmp_path / "out" / "memx.json").is_file()


def test_nothing_is_left_when_writing_stops(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        phantom.write(tmp_path / "out", layout="camus", patients=2, seed=0, size=64, frames=2, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_patients(tmp_path: Path) -> None:
    calls = []
    phantom.write(
        tmp_path / "out", layout="camus", patients=2, size=64, frames=2, progress=lambda *call: calls.append(call)
    )
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"layout": "camu"}, "did you mean 'camus'"),
        ({"patients": 0}, "patients"),
        ({"seed": -1}, "seed"),
        ({"size": 8}, "size"),
        ({"size": 0}, "size"),
        ({"frames": 1}, "frames"),
        ({"aspect": 0.0}, "aspect"),
        ({"layout": "echonet", "frames": 5}, "full cycle"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        phantom.write(tmp_path / "out", **({"layout": "camus", "patients": 1, "seed": 0} | wrong))
    assert list(tmp_path.iterdir()) == []
