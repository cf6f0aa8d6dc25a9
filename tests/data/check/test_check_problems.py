"""A problem's file, words and remedy are those of the error, whatever stands in its path."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from memx.data.check.problem import error, from_error
from memx.data.clip import Case
from memx.errors import DataError
from memx.registry import layouts


@pytest.mark.parametrize("root", ["1", "data", "study: one", "a; b"])
def test_a_path_is_made_relative_and_nothing_else(root: str) -> None:
    file = Path(root) / "metadata" / "patient0001" / "x.nii.gz"
    told = from_error(DataError("1/3 of it is gone; data: lost", file=file, place="line 3", remedy="copy; or leave it"))
    (found,) = (problem.under(Path(root)) for problem in told)
    assert found.where == "metadata/patient0001/x.nii.gz, line 3"
    assert found.what == "1/3 of it is gone; data: lost"
    assert found.remedy == "copy; or leave it"
    assert error(Path("elsewhere/x"), "w", "r").under(Path(root)).where == "elsewhere/x"


def test_a_message_without_fields_is_not_taken_apart() -> None:
    """As layouts of one's own may raise it: it belongs to the case."""
    case = Case("c1", "p", "", "train", {"video": Path("a: b/c.avi")})
    (found,) = from_error(DataError("a: b/c.avi: is cut: twice; copy it\nmore"), case)
    assert (found.where, found.what) == ("c1", "a: b/c.avi: is cut: twice; copy it")
    assert found.remedy
    (found,) = from_error(DataError("line 3: no"))
    assert (found.where, found.what) == ("data set", "line 3: no")


def test_a_message_is_file_what_and_remedy() -> None:
    assert (
        str(DataError("is cut", file=Path("a.avi"), place="line 2", remedy="copy it"))
        == "a.avi, line 2: is cut; copy it"
    )
    assert str(DataError("is cut", file=Path("a.avi"))) == "a.avi: is cut"
    assert str(DataError("no cases")) == "no cases"


@pytest.mark.parametrize("layout", ["camus", "echonet", "folder"])
def test_an_empty_root_is_one_problem_in_whole_words(layout: str, tmp_path: Path, tools) -> None:
    root = tmp_path / "study: one"
    root.mkdir()
    found = tools.report(root, layout)
    first = found.problems[0]
    assert first.where == str(root)
    assert first.what.startswith("no ")
    assert first.what.endswith(" in it")
    assert first.remedy == "name the folder that holds the data set"


def test_a_root_with_a_colon_is_read_as_any_other(copy, tools, tmp_path: Path) -> None:
    root = tmp_path / "study: one; two"
    copy("camus").rename(root)
    info = root / "database_nifti/patient0001/Info_2CH.cfg"
    tools.text(info, "EF: ", "EF: about ")
    found = [problem for problem in tools.report(root, "camus").problems if problem.severity == "error"]
    assert [problem.where for problem in found] == ["database_nifti/patient0001/Info_2CH.cfg"]
    assert found[0].what.startswith("EF: 'about ")


def test_a_name_in_the_list_may_end_in_any_case(copy, tools) -> None:
    """The survey reads `X.AVI` as it reads `X`; the check says nothing against it."""
    root = copy("echonet")
    with (root / "FileList.csv").open(newline="") as stream:
        name = next(csv.DictReader(stream))["FileName"]
    tools.text(root / "FileList.csv", name, f"{name}.AVI")
    assert len(layouts.build("echonet").survey(root).cases) == 4
    found = tools.report(root, "echonet")
    assert found.problems == [], tools.said(found)


def test_eval_and_check_take_the_same_views() -> None:
    """One view without its spacing: both use the other, by Simpson's discs."""
    import numpy as np

    from memx.data.check.echo import Ventricle, measured
    from memx.metrics import Pair, Protocol
    from memx.metrics.patient_ef import Cavity

    def ellipse(height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[:120, :120]
        return ((y - 60) / height) ** 2 + ((x - 60) / width) ** 2 <= 1

    masks = {"2CH": (ellipse(40, 25), ellipse(35, 18)), "4CH": (ellipse(40, 30), ellipse(30, 15))}
    for spacing in (
        {"2CH": None, "4CH": (0.5, 0.5)},
        {"2CH": (0.5, 0.5), "4CH": None},
        {"2CH": (0.5, 0.5), "4CH": (0.5, 0.4)},
        {"2CH": None, "4CH": None},
        {"2CH": None},
    ):
        pairs = [
            Pair(mask, mask, spacing[view], "p", view, "LV", phase, frame)
            for view in spacing
            for frame, (phase, mask) in enumerate(zip(("ED", "ES"), masks[view], strict=True))
        ]
        (scored,) = Protocol(draws=0).score(pairs).ef
        views = [
            Ventricle(Case(view, "p", view, "train"), *(Cavity.of(mask, spacing[view]) for mask in masks[view]), 50.0)
            for view in spacing
        ]
        found, method = measured(views)
        assert (method, found.unit) == (scored.method, scored.unit)
        assert (found.value, found.edv, found.esv) == (scored.truth, scored.edv_truth, scored.esv_truth)


def test_results_that_cannot_be_written_are_told_of_before_the_pass(
    command, copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy("folder")
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr("memx.data.check.run.check", lambda *_, **__: pytest.fail("the data set was read"))
    status, _, err = command("data", "check", root, "--out", tmp_path / "taken" / "found")
    assert status == 2
    assert "cannot be written" in err


def test_a_leak_is_in_the_summary(command, copy, tmp_path: Path) -> None:
    root, out = copy("folder"), tmp_path / "found"
    _, said, _ = command("data", "check", root, "--out", out)
    assert "leaks" in said
    assert "none  no patient and no frame is in two splits" in said
    shutil.copy(root / "images/patient0001/0.png", root / "images/patient0003/0.png")
    status, said, _ = command("data", "check", root, "--out", out)
    assert status == 1
    assert "1 in two splits: see below" in said


def test_a_root_that_is_not_there_leaves_no_folder(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = command("data", "check", "nowhere", "--layout", "camus")
    assert status == 2
    assert "nowhere: no such folder" in err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "layout", "file"),
    [
        ("camus", "camus", "database_nifti/patient0001/patient0001_2CH_half_sequence.nii.gz"),
        ("camus_mhd", "camus", "training/patient0001/patient0001_4CH_sequence.mhd"),
        ("echonet", "echonet", "Videos/*.avi"),
        ("folder", "folder", "images/patient0001/2.png"),
        ("folder", "folder", "masks/patient0001/2.png"),
    ],
)
def test_a_cut_file_is_told_in_fields(kind: str, layout: str, file: str, copy, tools, reader_errors) -> None:
    root = copy(kind)
    cut = min(root.glob(file))
    cut.write_bytes(cut.read_bytes()[:60])
    found = [problem for problem in tools.report(root, layout).problems if problem.severity == "error"]
    (told,) = {(problem.file, problem.remedy) for problem in found}
    assert told[0] == cut.relative_to(root)
    assert "copy it again" in told[1]
    assert reader_errors
