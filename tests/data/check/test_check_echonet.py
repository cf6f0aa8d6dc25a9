"""Every fault that is planted in an EchoNet-Dynamic data set is named with its file and what to do."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memx.data.check.outline import crossings, lost_area

Row = dict[str, str]


def edit(file: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    """Read a table, change its lines, and write it back."""
    with file.open(newline="") as stream:
        reader = csv.DictReader(stream)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(change(rows))


def set_first(column: str, value: str) -> Callable[[Path, str], None]:
    def plant(root: Path, name: str) -> None:
        edit(root / "FileList.csv", lambda rows: [{**rows[0], column: value}, *rows[1:]])

    plant.__name__ = f"{column}_of_{value}"
    return plant


def trace(change: Callable[[list[Row]], list[Row]]) -> Callable[[Path, str], None]:
    """Change the tracings of the first video."""

    def plant(root: Path, name: str) -> None:
        def apply(rows: list[Row]) -> list[Row]:
            mine = [row for row in rows if row["FileName"] == f"{name}.avi"]
            return change(mine) + [row for row in rows if row["FileName"] != f"{name}.avi"]

        edit(root / "VolumeTracings.csv", apply)

    return plant


def shift(rows: list[Row]) -> list[Row]:
    return [{**row, "X1": str(float(row["X1"]) + 60), "X2": str(float(row["X2"]) + 60)} for row in rows]


def swap_ends(rows: list[Row]) -> list[Row]:
    """Every second chord runs from right to left."""
    swapped = {"X1": "X2", "X2": "X1", "Y1": "Y2", "Y2": "Y1"}
    return [{key: row[swapped.get(key, key)] for key in row} if index % 2 else row for index, row in enumerate(rows)]


def exchange_axes(rows: list[Row]) -> list[Row]:
    swapped = {"X1": "Y1", "Y1": "X1", "X2": "Y2", "Y2": "X2"}
    return [{key: row[swapped.get(key, key)] for key in row} for row in rows]


def move_last_frame(rows: list[Row]) -> list[Row]:
    last = max(rows, key=lambda row: int(row["Frame"]))["Frame"]
    return [{**row, "Frame": "5000"} if row["Frame"] == last else row for row in rows]


def no_video(root: Path, name: str) -> None:
    (root / "Videos" / f"{name}.avi").unlink()


def truncated(root: Path, name: str) -> None:
    file = root / "Videos" / f"{name}.avi"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_bytes(root: Path, name: str) -> None:
    (root / "Videos" / f"{name}.avi").write_bytes(b"")


def unlisted(root: Path, name: str) -> None:
    shutil.copy(root / "Videos" / f"{name}.avi", root / "Videos" / "0XFEED.avi")


def listed_twice(root: Path, name: str) -> None:
    edit(root / "FileList.csv", lambda rows: [rows[0], *rows])


def edv_below_esv(root: Path, name: str) -> None:
    edit(root / "FileList.csv", lambda rows: [{**rows[0], "EDV": rows[0]["ESV"], "ESV": rows[0]["EDV"]}, *rows[1:]])


def known_untraced(root: Path, name: str) -> None:
    """One of the six released videos that have no tracing."""
    known = "0X234005774F4CB5CD"
    shutil.copy(root / "Videos" / f"{name}.avi", root / "Videos" / f"{known}.avi")
    edit(root / "FileList.csv", lambda rows: [*rows, {**rows[0], "FileName": known}])


def known_ghost(root: Path, name: str) -> None:
    edit(
        root / "VolumeTracings.csv",
        lambda rows: [*rows, *({**r, "FileName": "0X4F8859C8AB4DA9CB.avi"} for r in rows[:21])],
    )


def ghost(root: Path, name: str) -> None:
    edit(root / "VolumeTracings.csv", lambda rows: [*rows, *({**r, "FileName": "0XBAD.avi"} for r in rows[:21])])


TRACINGS = "VolumeTracings.csv, "
FAULTS = {
    "no video": (no_video, "error", "{name}", "traced, but there is no such video", "copy it to Videos"),
    "truncated": (truncated, "error", "Videos/{name}.avi", "", "copy it again"),
    "empty file": (no_bytes, "error", "Videos/{name}.avi", "not a readable video", "copy it again"),
    "unlisted": (unlisted, "error", "Videos/0XFEED.avi", "is not in FileList.csv", "add it there"),
    "listed twice": (listed_twice, "error", "FileList.csv, line 3", "is listed twice", "remove one of the lines"),
    "EF 120": (set_first("EF", "120"), "error", "FileList.csv, line 2", "EF 120", "want an EF of 0..100"),
    "EF 0": (set_first("EF", "0"), "error", "FileList.csv", "an EF of 0% for {name}", "correct it"),
    "EF beside volumes": (set_first("EF", "95"), "warning", "FileList.csv, line 2", "by its EDV and ESV", "correct"),
    "EF beside masks": (set_first("EF", "99"), "warning", "FileList.csv", "by its masks", "compare masks"),
    "no number": (set_first("FPS", "fast"), "error", "FileList.csv, line 2", "'fast' is not a number", ""),
    "frames": (set_first("NumberOfFrames", "900"), "error", "Videos/{name}.avi", "FileList.csv says 900", "copy it"),
    "more frames": (set_first("NumberOfFrames", "50"), "warning", "Videos/{name}.avi", "FileList.csv says 50", "none"),
    "size": (set_first("FrameWidth", "80"), "error", "Videos/{name}.avi", "64 × 64", "trace the video at its own size"),
    "split": (set_first("Split", "HOLDOUT"), "error", "FileList.csv, line 2", "'HOLDOUT'", "TRAIN, VAL or TEST"),
    "EDV < ESV": (edv_below_esv, "error", "FileList.csv, line 2", "of {name}", "swap them"),
    "untraced": (trace(lambda rows: []), "error", "{name}", "no tracing", "trace it"),
    "known untraced": (known_untraced, "warning", "0X234005774F4CB5CD", "no tracing", "everyone leaves it out"),
    "known ghost": (known_ghost, "warning", "0X4F8859C8AB4DA9CB", "traced, but not in FileList.csv", "leaves it out"),
    "ghost": (ghost, "error", "0XBAD", "traced, but not in FileList.csv", "remove its tracings"),
    "out of frame": (trace(shift), "error", TRACINGS, "out of a frame of 64 × 64", "own size"),
    "out of range": (trace(move_last_frame), "error", TRACINGS, "the video has frames 0..", "give the right frame"),
    "axes exchanged": (trace(exchange_axes), "error", TRACINGS, "lies on its side", "swap the axes"),
    "chords swapped": (trace(swap_ends), "error", TRACINGS, "crosses itself", "put the chords in order"),
}  # fmt: skip


@pytest.fixture
def first(clean_echonet: Path) -> str:
    with (clean_echonet / "FileList.csv").open(newline="") as stream:
        return next(csv.DictReader(stream))["FileName"]


def test_a_clean_data_set_has_no_problem(clean_echonet: Path, tools) -> None:
    found = tools.report(clean_echonet, "echonet")
    assert found.problems == [], tools.said(found)
    assert found.summary.clips == 4
    assert found.summary.labelled[0] == 8
    assert found.summary.spacing_y is None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, first: str, copy, tools) -> None:
    plant, severity, where, what, remedy = FAULTS[fault]
    root = copy("echonet")
    plant(root, first)
    found = tools.report(root, "echonet")
    where, what = where.format(name=first), what.format(name=first)
    matching = [
        p
        for p in found.problems
        if p.severity == severity and where in p.where and what in p.what and remedy in p.remedy
    ]
    assert matching, tools.said(found)
    assert str(root) not in tools.said(found)


def test_all_faults_are_named_together(first: str, copy, tools) -> None:
    root = copy("echonet")
    for plant in (unlisted, ghost, known_untraced, listed_twice, edv_below_esv, set_first("FrameWidth", "80")):
        plant(root, first)
    (root / "FileList.csv").write_text((root / "FileList.csv").read_text() + "cut,short\n")
    text = tools.said(tools.report(root, "echonet"))
    for words in ("0XFEED", "0XBAD", "0X234005774F4CB5CD", "listed twice", "EDV", "own size", "line 8 | is cut short"):
        assert words in text, text


def test_a_missing_table_is_one_error(copy, tools) -> None:
    root = copy("echonet")
    (root / "VolumeTracings.csv").unlink()
    found = tools.report(root, "echonet")
    assert "no VolumeTracings.csv in it" in tools.said(found)
    assert found.errors


def test_crossings_are_counted() -> None:
    """A square has none, a bow tie one, and half of what it reaches is turned inside out."""
    x, y = np.array([0.0, 10, 10, 0]), np.array([0.0, 0, 10, 10])
    assert crossings(x, y) == 0
    assert lost_area(x, y) == pytest.approx(0, abs=0.05)
    tie = [0, 2, 1, 3]
    assert crossings(x[tie], y[tie]) == 1
    assert lost_area(x[tie], y[tie]) == pytest.approx(1, abs=0.05)


def test_a_video_in_two_splits_is_a_leak(first: str, copy, tools) -> None:
    """Listed again in another split it is a leak with both named; again in the same one it is not."""
    root = copy("echonet")
    edit(root / "FileList.csv", lambda rows: [*rows, rows[0]])
    assert tools.report(root, "echonet").summary.leaks == 0
    root = Path(shutil.move(root, root.with_name("leaking")))
    edit(root / "FileList.csv", lambda rows: [*rows[:-1], {**rows[0], "Split": _other(rows[0]["Split"])}])
    found = tools.report(root, "echonet")
    (told,) = [problem for problem in found.problems if problem.leak]
    assert told.severity == "error"
    assert told.where == "FileList.csv, line 6"
    with (root / "FileList.csv").open(newline="") as stream:
        split = next(csv.DictReader(stream))["Split"]
    assert told.what == f"{first} is listed twice: in {split} (line 2) and in {_other(split)}"
    assert found.summary.leaks == 1


def _other(split: str) -> str:
    return "VAL" if split == "TRAIN" else "TRAIN"
