"""What `memx data check` knows of EchoNet-Dynamic."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from memx.data.access import entries, is_dir, is_file
from memx.data.check.facts import Facts
from memx.data.check.layout import LayoutChecks
from memx.data.check.outline import crossings, lost_area
from memx.data.check.problem import Problem, error, from_error, warning
from memx.data.clip import Case, Clip, Skipped, Survey
from memx.data.echonet import LIST_COLUMNS, read_grey, rows, stem
from memx.errors import DataError

if TYPE_CHECKING:
    from memx.data.echonet import EchoNet

UNTRACED = frozenset(
    {
        "0X234005774F4CB5CD",
        "0X2DC68261CBCC04AE",
        "0X35291BE9AB90FB89",
        "0X5515B0BD077BE68A",
        "0X5DD5283AC43CCDD1",
        "0X6C435C1B417FDE8A",
    }
)
"""The released videos that have no tracing."""
WITHOUT_VIDEO = frozenset({"0X4F8859C8AB4DA9CB"})
"""The released tracing that has no video."""
_KNOWN = "none: the release lacks it, and everyone leaves it out"
_INSIDE_OUT = 0.05


class EchoNetChecks(LayoutChecks):
    """`FileList.csv`, `VolumeTracings.csv` and the videos against each other, and every outline's shape."""

    looks_for: ClassVar[str] = "FileList.csv, VolumeTracings.csv and Videos/*.avi"
    layout: EchoNet

    def recognises(self, root: Path) -> bool:
        return any(is_file(root / name) for name in ("FileList.csv", "VolumeTracings.csv"))

    def left_out(self, skipped: Skipped) -> Problem:
        if skipped.what in UNTRACED and skipped.reason == "unlabelled":
            return warning(skipped.what, skipped.why, _KNOWN)
        if skipped.what in WITHOUT_VIDEO and skipped.reason in ("absent", "unpaired"):
            return warning(skipped.what, skipped.why, _KNOWN)
        remedies = {
            "absent": f"copy it to {self.layout.videos}, or remove its line from FileList.csv, and its tracings",
            "unlabelled": "trace it in VolumeTracings.csv, or remove its line from FileList.csv",
            "unpaired": "add it to FileList.csv, or remove its tracings",
        }
        return error(skipped.what, skipped.why, remedies.get(skipped.reason, "complete the tracing"))

    def data_set(self, root: Path, survey: Survey) -> Iterator[Problem]:
        listing, folder = root / "FileList.csv", root / self.layout.videos
        if not (is_file(listing) and is_dir(folder)):
            return
        listed: set[str] = set()
        for number, row in _quietly(listing):
            try:
                listed.add(stem(row["FileName"], listing, number))
            except DataError:  # of which `survey` has told
                continue
            yield from _volumes(listing, number, row)
        for file in entries(folder):
            if is_file(file) and not file.name.startswith(".") and file.stem not in listed:
                yield error(file, "is not in FileList.csv", "add it there, or remove the file")
            elif file.suffix.lower() != ".avi" and not file.name.startswith("."):
                yield error(file, "is not read: videos here are .avi", "convert it, or remove it")

    def parts(self, case: Case) -> Iterator[Problem]:
        file, facts = case.files["video"], case.extra
        frames, (height, width) = facts["frames"], facts["size"]
        try:
            frames = max(frames, len(read_grey(file)))
        except DataError as raised:
            yield from from_error(raised, case)
        for frame, (x, y) in facts["outlines"].items():
            where, place = case.files["tracings"], f"{case.id}, frame {frame}"
            if not 0 <= frame < frames:
                what = f"the video has frames 0..{frames - 1}"
                yield error(where, what, "give the right frame", case, place=place)
            if min(x.min(), y.min()) < -1 or x.max() > width or y.max() > height:
                reach = f"x {x.min():g}..{x.max():g}, y {y.min():g}..{y.max():g}"
                what = f"the outline runs over {reach}, out of a frame of {height} × {width} pixels (y × x)"
                yield error(where, what, "trace the video at its own size", case, place=place)

    def clip(self, case: Case, clip: Clip) -> Iterator[Problem]:
        if len(clip) > case.extra["frames"]:
            what = f"{len(clip)} frames, FileList.csv says {case.extra['frames']}"
            yield warning(case.files["video"], what, "none: the video's own count stands", case)
        for frame, (x, y) in case.extra["outlines"].items():
            where, place = case.files["tracings"], f"{case.id}, frame {frame}"
            if (count := crossings(x, y)) and (lost := lost_area(x, y)) > _INSIDE_OUT:
                what = f"the outline crosses itself {count} times, {100 * lost:.0f}% of its area is turned inside out"
                yield error(where, what, "put the chords in order, and every X1, Y1 on one side", case, place=place)
            elif count:
                what = f"the outline crosses itself {count} time{'s' * (count > 1)}, with little effect"
                yield warning(where, what, "none, or trace it again", case, place=place)

    def facts(self, case: Case) -> Facts:
        known = case.extra
        return Facts(case, known["frames"], known["size"], None, known["fps"], known["ef"], len(known["outlines"]))

    def names(self, root: Path) -> list[str]:
        listing = root / "FileList.csv"
        return [stem(row["FileName"], listing, number) for number, row in rows(listing, ("FileName",))]

    def split_files(self, root: Path, assigned: Mapping[str, str], seed: int) -> dict[Path, str]:
        """A copy of the list with another `Split`; the list itself is the data set's own and stays as it is."""
        listing, out = root / "FileList.csv", io.StringIO()
        table: csv.DictWriter | None = None
        for number, row in rows(listing, ("FileName", "Split")):
            if table is None:
                table = csv.DictWriter(out, list(row), lineterminator="\n", extrasaction="ignore")
                table.writeheader()
            table.writerow({**row, "Split": assigned[stem(row["FileName"], listing, number)].upper()})
        return {root / f"FileList-seed{seed}.csv": out.getvalue()}

    def use_split(self, root: Path) -> str:
        return (
            "memx reads FileList.csv, which was left as it is: to use this split, make a copy of the data set (links "
            "will do) with this file in it as FileList.csv"
        )


def _quietly(listing: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of the list that are whole; `survey` has told of the others."""
    try:
        yield from rows(listing, LIST_COLUMNS, lambda told: None)
    except DataError:
        return


def _volumes(listing: Path, number: int, row: Mapping[str, str]) -> Iterator[Problem]:
    """EDV, ESV and EF of a line against each other, where the list has volumes."""
    try:
        edv, esv, ef = (float(row[key]) for key in ("EDV", "ESV", "EF"))
    except (KeyError, ValueError, TypeError):
        return
    name, place = row["FileName"].strip(), f"line {number}"
    if edv < esv:
        what = f"EDV {edv:g} < ESV {esv:g} of {name}"
        yield error(listing, what, "swap them: EDV is the larger volume", place=place)
    elif edv > 0 and abs(100 * (edv - esv) / edv - ef) > 2:
        what = f"the EF of {name} is {ef:g}%, by its EDV and ESV {100 * (edv - esv) / edv:.1f}%"
        yield warning(listing, what, "correct the wrong one of the three", place=place)
