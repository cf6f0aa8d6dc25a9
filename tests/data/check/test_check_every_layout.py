"""What holds of every layout: clean data pass, what may not be read is named, memory does not grow with the clips."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memx.data.check.clips import clip_problems
from memx.data.check.echo import ventricle
from memx.data.check.run import check
from memx.data.clip import Case, Clip, Layout, Survey
from memx.errors import DataError
from memx.registry import layouts

KINDS = ("camus", "camus_mhd", "echonet", "folder", "davis")
LAYOUT = {"camus_mhd": "camus", "davis": "folder"}
HANDLED = {
    "camus": {"the sequence is stored from ES to ED"},  # the phantom has such, as CAMUS does
    "camus_mhd": {"the sequence is stored from ES to ED"},
    "davis": {"no clip is in the split test"},  # DAVIS has no masks for testing
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_data_set_passes_with_status_0(
    kind: str, clean: dict[str, Path], tools, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command("data", "check", clean[kind], "--out", "found")
    assert status == 0, out + err
    assert "leaks" in out
    assert "none" in out
    found = tools.report(clean[kind], LAYOUT.get(kind, kind))
    assert {problem.what for problem in found.problems} <= HANDLED.get(kind, set()), tools.said(found)
    assert found.summary.leaks == 0


MHD = "training/patient0001/patient0001_4CH"


def mhd_pixels(root: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the raw pixels (t, y, x) of a MetaImage file."""
    file = root / f"{name}.mhd"
    words = dict(line.split(" = ") for line in file.read_text().splitlines())
    x, y, t = map(int, words["DimSize"].split())
    raw = file.with_suffix(".raw")
    old = np.frombuffer(raw.read_bytes(), np.uint8).reshape(t, y, x)
    raw.write_bytes(np.ascontiguousarray(change(old), dtype=np.uint8).tobytes())


MHD_FAULTS = {
    "cut": (lambda root, tools: (root / f"{MHD}_sequence.raw").write_bytes(b"12"),
            "error", f"{MHD}_sequence.mhd", "header promises", "copy it again"),
    "255": (lambda root, tools: mhd_pixels(root, f"{MHD}_ED_gt", lambda m: (m == 1) * 255),
            "error", f"{MHD}_ED_gt.mhd", "label values 0, 255", "write 1 where 255 stands"),
    "no lv": (lambda root, tools: [mhd_pixels(root, f"{MHD}_{p}_gt", lambda m: m * (m != 1)) for p in ("ED", "ES")],
              "error", "patient0001_4CH", "no lv (label 1) in any labelled frame", "background"),
    "no mask": (lambda root, tools: (root / f"{MHD}_ES_gt.mhd").unlink(),
                "error", f"{MHD}_ES_gt.mhd", "is missing", "copy these patients"),
    "no still": (lambda root, tools: (root / f"{MHD}_ES.mhd").unlink(),
                 "warning", f"{MHD}_ES.mhd", "is missing", "to have the data set whole"),
    "reversed": (lambda root, tools: mhd_pixels(root, f"{MHD}_sequence", lambda p: p[::-1]),
                 "error", f"{MHD}_sequence.mhd", "its ED frame is the still of ES", "exchange ED and ES"),
    "masks exchanged": (lambda root, tools: [(root / f"{MHD}_ED_gt.raw").rename(root / "ed"),
                                             (root / f"{MHD}_ES_gt.raw").rename(root / f"{MHD}_ED_gt.raw"),
                                             (root / "ed").rename(root / f"{MHD}_ES_gt.raw")],
                        "error", "training/patient0001/Info_4CH.cfg", "EDV < ESV", "swap ED and ES"),
    "spacing": (lambda root, tools: tools.text(root / f"{MHD}_ED_gt.mhd", "ElementSpacing = ", "ElementSpacing = 1"),
                "warning", f"{MHD}_ED_gt.mhd", "its pixels are ", "the picture's counts"),
    "unlisted": (lambda root, tools: [f.write_text(f.read_text().replace("patient0001\n", ""))
                                      for f in (root / "training/listSubGroups").iterdir()],
                 "error", "patient0001", "in none of the lists", "add the patient"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MHD_FAULTS)
def test_a_fault_of_the_older_release_is_named(fault: str, copy, tools) -> None:
    plant, severity, where, what, remedy = MHD_FAULTS[fault]
    root = copy("camus_mhd")
    plant(root, tools)
    found = tools.report(root, "camus")
    assert any(
        p.severity == severity and where in p.where and what in p.what and remedy in p.remedy for p in found.problems
    ), tools.said(found)
    assert str(root) not in tools.said(found)


def redraw(root: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with Image.open(root / name) as image:
        pixels = np.asarray(image)
    Image.fromarray(change(pixels)).save(root / name)


D_IMAGES, D_MASKS = "JPEGImages/480p/patient0001", "Annotations/480p/patient0001"
DAVIS_FAULTS = {
    "cut": (lambda root: (root / f"{D_IMAGES}/2.jpg").write_bytes(b"\xff\xd8\xff"),
            "error", f"{D_IMAGES}/2.jpg", "cannot be read as an image"),
    "255": (lambda root: redraw(root, f"{D_MASKS}/1.png", lambda m: np.where(m > 0, 255, 0).astype(np.uint8)),
            "error", f"{D_MASKS}/1.png", "label values 0, 255"),
    "size": (lambda root: redraw(root, f"{D_MASKS}/1.png", lambda m: m[:-2]),
             "error", f"{D_MASKS}/1.png", "the mask is"),
    "nothing": (lambda root: [redraw(root, f"{D_MASKS}/{t}.png", lambda m: m * 0) for t in range(4)],
                "error", D_MASKS, "every mask is empty"),
    "no masks": (lambda root: shutil.rmtree(root / D_MASKS), "error", "patient0001", "has images, but no masks"),
    "one mask": (lambda root: [(root / f"{D_MASKS}/{t}.png").unlink() for t in (1, 2, 3)],
                 "warning", D_MASKS, "only frame 0 of 4 is labelled"),
    "unlisted": (lambda root: (root / "ImageSets/2017/train.txt").write_text("patient0003\n"),
                 "error", "patient0001", "in none of the lists"),
    "two lists": (lambda root: (root / "ImageSets/2017/val.txt").write_text("patient0002\npatient0001\n"),
                  "error", "ImageSets/2017/val.txt", "also in split 'train'"),
    "no val": (lambda root: (root / "ImageSets/2017/val.txt").unlink(),
               "error", "splits", "no clip is in the split val"),
}  # fmt: skip


@pytest.mark.parametrize("fault", DAVIS_FAULTS)
def test_a_fault_of_a_davis_tree_is_named(fault: str, copy, tools) -> None:
    plant, severity, where, what = DAVIS_FAULTS[fault]
    root = copy("davis")
    plant(root)
    found = tools.report(root, "folder")
    assert any(p.severity == severity and where in p.where and what in p.what for p in found.problems), tools.said(
        found
    )
    assert str(root) not in tools.said(found)
    assert (found.summary.leaks == 1) == (fault == "two lists")


@pytest.mark.parametrize(("kind", "masks"), [("davis", D_MASKS), ("folder", "masks/patient0001")])
def test_an_object_may_leave_the_picture(kind: str, masks: str, copy, tools) -> None:
    """An empty mask is a right label where nobody named what has to be there."""
    root = copy(kind)
    redraw(root, f"{masks}/2.png", lambda mask: mask * 0)
    found = tools.report(root, "folder")
    assert {problem.what for problem in found.problems} <= HANDLED["davis"], tools.said(found)


CLOSED = [
    ("camus", "database_nifti/patient0002", 0o000),
    ("camus", "database_nifti/patient0002", 0o444),
    ("camus", "database_nifti", 0o000),
    ("camus", "database_nifti/patient0002/Info_2CH.cfg", 0o000),
    ("camus", "database_nifti/patient0002/patient0002_2CH_half_sequence.nii.gz", 0o000),
    ("camus", "database_split/subgroup_training.txt", 0o000),
    ("camus_mhd", "training/patient0002", 0o000),
    ("camus_mhd", "training", 0o000),
    ("camus_mhd", "training/patient0002/patient0002_4CH_sequence.mhd", 0o000),
    ("camus_mhd", "training/patient0002/patient0002_4CH_sequence.raw", 0o000),
    ("echonet", "Videos", 0o000),
    ("echonet", "Videos", 0o444),
    ("echonet", "VolumeTracings.csv", 0o000),
    ("echonet", "Videos/*.avi", 0o000),
    ("folder", "images/patient0002", 0o000),
    ("folder", "images/patient0002", 0o444),
    ("folder", "masks/patient0002", 0o000),
    ("folder", "images", 0o000),
    ("folder", "images/patient0002/1.png", 0o000),
    ("davis", "Annotations/480p/patient0002", 0o000),
    ("folder", "masks/patient0002/1.png", 0o000),
    ("davis", "JPEGImages/480p", 0o000),
    ("davis", "JPEGImages/480p/patient0002/1.jpg", 0o000),
]


@pytest.mark.parametrize(("kind", "closed", "mode"), CLOSED)
def test_what_may_not_be_read_is_named(kind: str, closed: str, mode: int, copy, as_nobody, command) -> None:
    """The table has it by name, whatever the survey asks of it, and the command ends with status 1."""
    root, layout = copy(kind), LAYOUT.get(kind, kind)
    closed = min(root.glob(closed)).relative_to(root).as_posix()
    (root / closed).chmod(mode)
    out = root.parent / "found"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    with as_nobody():
        status, said, err = command("data", "check", root, "--layout", layout, "--out", out, "--json")
    assert status == 1, said + err
    found = json.loads(said)["problems"]
    told = [(p["severity"], p["where"]) for p in found if "may not be" in p["what"] and "right to read" in p["remedy"]]
    assert ("error", closed) in told, found
    assert not any("damaged" in problem["what"] for problem in found), found


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_root_is_told_of(kind: str, copy, as_nobody, command) -> None:
    root = copy(kind)
    root.chmod(0o000)
    with as_nobody():
        for words in (["check"], ["info"], ["check", "--layout", LAYOUT.get(kind, kind)]):
            status, _, err = command("data", words[0], root, *words[1:])
            assert status == 2
            assert f"{root}: may not be entered or read" in err
        with pytest.raises(DataError, match="may not be entered or read"):
            layouts.build(LAYOUT.get(kind, kind)).cases(root)


class Many(Layout):
    """Clips of two frames whose ventricles have an EF."""

    labels = {0: "background", 1: "lv"}  # noqa: RUF012

    def __init__(self, count: int):
        self.count = count

    def survey(self, root: Path) -> Survey:
        splits = ("train", "val", "test")
        return Survey([Case(f"p{i}", f"p{i}", "4CH", splits[i % 3]) for i in range(self.count)])

    def load(self, case: Case) -> Clip:
        video = torch.rand(2, 1, 160, 120, generator=torch.Generator().manual_seed(int(case.id[1:])))
        labels = torch.zeros(2, 160, 120, dtype=torch.int64)
        labels[0, 20:140, 30:90] = 1
        labels[1, 40:140, 40:80] = 1
        return Clip(video, labels, torch.ones(2).bool(), (0.8, 0.8), 50.0, case.patient, case.view, 0, 1, 50.0)


def test_memory_does_not_grow_with_the_clips(tmp_path: Path) -> None:
    """Of each clip there stay numbers, not masks: less than 4 kB where the two masks have 38 kB."""
    layout, peaks = Many(0), []
    for layout.count in (30, 30, 90):  # more than there are thumbnails; the first pass imports
        tracemalloc.start()
        assert not check(tmp_path, layout, name="many").errors
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / 60 < 4000
    case = layout.survey(tmp_path).cases[0]
    assert len(pickle.dumps(ventricle(case, layout.load(case), layout.labels))) < 4000


def named(*values: int) -> Clip:
    """A clip of two 8 × 8 frames that have these label values."""
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    for place, value in enumerate(values):
        labels[:, 2 * place : 2 * place + 2] = value
    return Clip(torch.rand(2, 1, 8, 8), labels, torch.ones(2).bool())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (((1, 2), (1, 2)), set()),
        (((1, 2), (2,)), {("error", "c1", "no lv (label 1) in any labelled frame")}),
        (((2,), (2,)), {("error", f"c{i}", "no lv (label 1) in any labelled frame") for i in range(2)}),
        (((1, 2), (1,)), {("error", "c1", "no wall (label 2) in any labelled frame")}),
        (((1,), (1,)), {("warning", "data set", "no wall (label 2) in any mask")}),
    ],
)
def test_a_structure_that_other_clips_have_is_an_error(values, told, tmp_path: Path) -> None:
    """And the ventricle always is; what no clip has was not annotated."""

    class Named(Layout):
        labels = {0: "background", 1: "lv", 2: "wall"}  # noqa: RUF012

        def survey(self, root: Path) -> Survey:
            return Survey([Case(f"c{i}", f"c{i}", "", ("train", "val")[i]) for i in range(2)])

        def load(self, case: Case) -> Clip:
            return named(*values[int(case.id[1:])])

    found = check(tmp_path, Named(), name="named")
    assert {(p.severity, p.where, p.what) for p in found.problems if "(label " in p.what} == told


def test_training_and_the_check_refuse_the_same_clips() -> None:
    """Each fault of a clip is an error of the check and ends a training set's item, in the same words."""
    from memx.data.dataset import ClipDataset

    good = named(1)
    assert good.labels is not None
    faults = (
        good.replace(video=good.video * 3),
        good.replace(video=good.video * float("nan")),
        good.replace(labels=None),
        good.replace(labels=good.labels[:, :4]),
        good.replace(labelled=torch.zeros(2).bool()),
        good.replace(labels=good.labels - 1),
        good.replace(video=good.video[:0], labels=good.labels[:0], labelled=torch.zeros(0).bool()),
    )
    case = Case("a", "a", "", "train")
    for clip in faults:

        class One(Layout):
            def load(self, case: Case, clip: Clip = clip) -> Clip:
                return clip

        with pytest.raises(DataError) as raised:
            ClipDataset(One(), [case], size=8, structures={"lv": [1]}, sampling="all")[0]
        told = [p for p in clip_problems(case, clip, {}) if p.severity == "error"]
        assert (told[0].where, told[0].what, told[0].remedy) == ("a", raised.value.what, raised.value.remedy)
