"""`memx data check`, `info` and `split` as a user types them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def damaged(phantom_root: Path, tmp_path: Path) -> Path:
    """Five cfg files without ED and ES, and a mask that is gone."""
    root = tmp_path / "damaged"
    shutil.copytree(phantom_root, root)
    for number in range(2, 7):
        (root / f"database_nifti/patient000{number}/Info_2CH.cfg").write_text("Sex: F\n")
    (root / "database_nifti/patient0001/patient0001_4CH_half_sequence_gt.nii.gz").unlink()
    return root


def test_a_clean_data_set_passes(command, phantom_root: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in phantom_root.rglob("*")}
    status, out, _ = command("data", "check", phantom_root)
    assert status == 0, out
    for words in ("layout camus", "2CH 6  4CH 6", "myocardium", "EF", "splits", "✓"):
        assert words in out, out
    folder = tmp_path / "check" / phantom_root.name
    assert {file.name for file in folder.iterdir()} == {"sheet.png", "problems.csv", "report.json"}
    assert before == {file: file.stat().st_mtime_ns for file in phantom_root.rglob("*")}, "the data set was changed"


def test_errors_give_status_1_in_every_form(command, damaged: Path, tmp_path: Path) -> None:
    """The table, the CSV and the JSON tell the same; a red frame marks nothing that could not be read."""
    status, out, _ = command("data", "check", damaged, "--out", "found", "--json")
    assert status == 1
    report = json.loads(out)
    assert report["errors"] >= 6
    with (tmp_path / "found" / "problems.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == report["problems"]
    assert json.loads((tmp_path / "found" / "report.json").read_text()) == report
    missing = "database_nifti/patient0001/patient0001_4CH_half_sequence_gt.nii.gz"
    assert any(row["where"] == missing and row["what"] == "is missing" for row in rows)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_is_legible_at_both_widths(command, damaged: Path, columns: int) -> None:
    """No line is wider than the terminal, and files and words are not broken apart without need."""
    status, out, _ = command("data", "check", damaged, "--out", "found", columns=columns)
    assert status == 1
    shown = [line for line in out.splitlines() if not line.startswith("  wrote") and str(damaged) not in line]
    assert max(map(len, shown)) <= columns
    assert "patient0002/Info_2CH.cfg" in out
    assert "✗" in out
    assert "and 2 more" in out, out


def test_the_summary_says_how_many_clips_could_be_read(command, phantom_root: Path, tmp_path: Path) -> None:
    """And nothing of that where all could be."""
    _, out, _ = command("data", "check", phantom_root, "--out", "found")
    assert "readable" not in out
    root = Path(shutil.copytree(phantom_root, tmp_path / "cut"))
    for number in (1, 2, 3):
        file = root / f"database_nifti/patient000{number}/patient000{number}_2CH_half_sequence.nii.gz"
        file.write_bytes(file.read_bytes()[:1500])
    status, out, _ = command("data", "check", root, "--out", "found")
    assert status == 1
    assert "9 of 12 readable" in out, out
    summary = json.loads(Path("found/report.json").read_text())["summary"]
    assert (summary["clips"], summary["listed"]) == (9, 12)


def test_the_sheet_shows_clips_in_square_pixels(command, phantom_root: Path) -> None:
    """Pixels of CAMUS are twice as wide as high: a sector drawn as it is stored would be half as wide."""
    command("data", "check", phantom_root, "--out", "found")
    with Image.open("found/sheet.png") as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    assert min(sheet.shape[:2]) > 500
    yellow = (sheet[..., 0] > 150) & (sheet[..., 1] > 140) & (sheet[..., 2] < 120)
    assert yellow.sum() > 500, "the ventricles have contours"


def test_info_reads_no_pixels(command, damaged: Path) -> None:
    for file in damaged.rglob("*_half_sequence_gt.nii.gz"):
        file.write_bytes(b"")
    status, out, _ = command("data", "info", damaged)
    assert status == 0
    assert "patients" in out
    assert "memx data check" in out
    status, out, _ = command("data", "info", damaged, "--json")
    assert json.loads(out)["summary"]["classes"] is None


def test_split_writes_lists_once(command, damaged: Path) -> None:
    status, _, err = command("data", "split", damaged)
    assert status == 2
    assert "--force" in err
    shutil.rmtree(damaged / "database_split")
    shares = ["--train", "0.5", "--val", "0.25", "--test", "0.25"]
    status, out, _ = command("data", "split", damaged, *shares, "--seed", "3")
    assert status == 0
    assert "subgroup_validation.txt" in out
    assert "train       3 patients" in out
    names = [name for file in (damaged / "database_split").iterdir() for name in file.read_text().split()]
    assert sorted(names) == [f"patient000{number}" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "What each layout looks for"),
        ([".", "--layout", "camsu"], "did you mean 'camus'"),
        ([".", "--layout", "folder", "mask_value=binary"], "did you mean 'mask_values'"),
        ([".", "--layout", "folder", "other"], "write options of the layout as name=value"),
    ],
)
def test_mistakes_are_told(command, words: list[str], says: str) -> None:
    for name in ("check", "info", "split"):
        status, _, err = command("data", name, *words)
        assert status == 2, err
        assert says in err
