"""EchoNet-Dynamic: apical four-chamber videos with the LV traced at end diastole and end systole."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from memx.data.access import denied, entries, is_dir, is_file
from memx.data.clip import Case, Clip, Layout, Skipped, Survey, Tell, stop
from memx.data.polygon import fill_polygon, polygon_area
from memx.data.split import TwoSplitsError
from memx.data.streams.video import VideoStream
from memx.errors import DataError
from memx.registry import layouts

if TYPE_CHECKING:
    from memx.data.check.layout import LayoutChecks

LIST_COLUMNS = ("FileName", "EF", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
TRACING_COLUMNS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")


@layouts.register("echonet")
class EchoNet(Layout):
    """EchoNet-Dynamic: `Videos/*.avi`, `FileList.csv` and `VolumeTracings.csv`, the LV traced in two frames a video.

    A tracing is the long axis (its first row) and chords (x1, y1)–(x2, y2) across it; the outline is x1[1:] followed by
    x2[1:] reversed, with vertices rounded to whole pixels and pixels on the edge counted in, as the published scores
    have it. Of the traced frames ED is the one with the largest area and ES the one with the smallest, wherever they
    stand in time. Videos without a usable tracing and tracings without a video are left out and listed in `survey`.
    There is no millimetre spacing. Splits are those of `FileList.csv`.

    Source: Ouyang et al., Nature 580, 2020.
    """

    source = (
        "EchoNet-Dynamic comes from https://echonet.github.io/dynamic/ "
        "(after registration; research only, no redistribution)\n"
        "To point at your copy: data.layout=echonet data.root=/path/to/EchoNet-Dynamic (the folder with FileList.csv)\n"
        "To train on the phantom instead: memx data phantom data/phantom_echonet --layout echonet --patients 32, "
        "then data.layout=echonet data.root=data/phantom_echonet"
    )
    labels: ClassVar[Mapping[int, str]] = {0: "background", 1: "lv"}

    def __init__(
        self,
        *,
        videos: Annotated[str, Field(min_length=1, description="folder of the videos, inside the root")] = "Videos",
    ):
        self.videos = videos

    def survey(self, root: Path) -> Survey:
        return self.collect(root, stop)

    def checks(self) -> LayoutChecks:
        from memx.data.check.echonet import EchoNetChecks

        return EchoNetChecks(self)

    def collect(self, root: Path, tell: Tell) -> Survey:
        root = Path(root)
        listing, tracing, folder = root / "FileList.csv", root / "VolumeTracings.csv", root / self.videos
        if not is_dir(root):
            raise self.not_here(root, "no such folder")
        entries(root)
        if not folder.resolve().is_relative_to(root.resolve()):
            what = f"videos: {self.videos!r} leads out of the data set"
            raise DataError(what, file=root, remedy="name a folder inside it")
        absent = [path.name for path in (listing, tracing) if not is_file(path)] + [self.videos] * (not is_dir(folder))
        if absent:
            raise self.not_here(root, f"no {', '.join(absent)} in it")
        outlines = _read_outlines(tracing, tell)
        skipped: list[Skipped] = []
        cases: list[Case] = []
        names: dict[str, tuple[int, str]] = {}
        for number, row in rows(listing, LIST_COLUMNS, tell):
            try:
                name, split = stem(row["FileName"], listing, number), row["Split"].strip().upper()
                if name in names:
                    raise _listed_twice(name, listing, names[name], (number, split))
                names[name] = number, split
                video = folder / f"{name}.avi"
                unusable = _unusable(name, video, outlines.get(name, {}))
                if unusable:
                    skipped.append(unusable)
                    continue
                facts = _facts(row, listing, number)
            except DataError as error:
                tell(error)
                continue
            extra = {"outlines": outlines[name], **facts}
            files = {"video": video, "list": listing, "tracings": tracing}
            cases.append(Case(name, name, "4CH", facts["split"], files, extra))
        skipped += [
            Skipped(name, f"traced, but not in {listing.name}", "unpaired")
            for name in sorted(outlines.keys() - names.keys())
        ]
        return Survey(cases, skipped)

    def load(self, case: Case) -> Clip:
        file, facts = case.files["video"], case.extra
        video = read_grey(file)
        if len(video) < facts["frames"]:
            raise DataError(
                f"{len(video)} frames could be read, {case.files['list'].name} says {facts['frames']}",
                file=file,
                remedy="the file is cut short: copy it again",
            )
        size = video.shape[-2], video.shape[-1]
        if size != facts["size"]:
            raise DataError(
                f"frames are {size[0]} × {size[1]} pixels (y × x), {case.files['list'].name} and the tracings "
                f"are for {facts['size'][0]} × {facts['size'][1]}",
                file=file,
                remedy="trace the video at its own size, or resize it",
            )
        labels = np.zeros((len(video), *size), dtype=np.uint8)
        labelled = np.zeros(len(video), dtype=bool)
        areas: dict[int, float] = {}
        for frame, (x, y) in facts["outlines"].items():
            if not 0 <= frame < len(video):
                raise DataError(
                    f"{case.id} is traced in frame {frame}, the video has 0..{len(video) - 1}",
                    file=case.files["tracings"],
                    remedy="give the right frame",
                )
            if min(x.min(), y.min()) < -1 or x.max() > size[1] or y.max() > size[0]:
                raise DataError(
                    f"the tracing of {case.id}, frame {frame}, runs over "
                    f"x {x.min():g}..{x.max():g}, y {y.min():g}..{y.max():g}; "
                    f"its video is {size[0]} × {size[1]} pixels (y × x)",
                    file=case.files["tracings"],
                    remedy="trace the video at its own size",
                )
            labels[frame] = fill_polygon(np.rint(x), np.rint(y), size, edges=True)
            labelled[frame] = True
            areas[frame] = polygon_area(x, y)
        return Clip(
            video=video,
            labels=torch.from_numpy(labels),
            labelled=torch.from_numpy(labelled),
            fps=facts["fps"],
            patient=case.patient,
            view=case.view,
            ed=max(areas, key=lambda frame: (areas[frame], -frame)),
            es=min(areas, key=lambda frame: (areas[frame], -frame)),
            ef=facts["ef"],
            source=file,
        )


def _listed_twice(name: str, listing: Path, first: tuple[int, str], again: tuple[int, str]) -> DataError:
    """What is wrong with a video that two lines (number, split) name: a leak, where the splits differ."""
    (line, split), (number, other) = first, again
    place = f"line {number}"
    if split == other:
        return DataError(f"{name} is listed twice", file=listing, place=place, remedy="remove one of the lines")
    what = f"{name} is listed twice: in {split} (line {line}) and in {other}"
    return TwoSplitsError(what, file=listing, place=place, remedy="a video belongs to one split: remove a line")


def _unusable(name: str, video: Path, outlines: dict[int, tuple[np.ndarray, np.ndarray]]) -> Skipped | None:
    """A listed video that cannot be used. Raises DataError where it may not be looked at."""
    if not is_file(video):
        return Skipped(name, "traced, but there is no such video" if outlines else "no such video", "absent")
    if not outlines:
        return Skipped(name, "no tracing", "unlabelled")
    if len(outlines) < 2:
        return Skipped(name, "only one frame is traced; ED and ES are wanted")
    thin = [frame for frame, (x, _) in outlines.items() if len(x) < 3]
    return Skipped(name, f"the tracing of frame {thin[0]} has fewer than three points") if thin else None


def _facts(row: dict[str, str], file: Path, number: int) -> dict[str, Any]:
    split = row["Split"].strip().lower()
    if split not in ("train", "val", "test"):
        raise DataError(f"Split: {row['Split']!r}", file=file, place=f"line {number}", remedy="want TRAIN, VAL or TEST")
    size = (int(_number(row, "FrameHeight", file, number)), int(_number(row, "FrameWidth", file, number)))
    ef, fps = _number(row, "EF", file, number), _number(row, "FPS", file, number)
    if not 0 <= ef <= 100 or fps <= 0:
        raise DataError(
            f"EF {ef:g} and FPS {fps:g}",
            file=file,
            place=f"line {number}",
            remedy="want an EF of 0..100 percent and a positive FPS",
        )
    return {
        "split": split,
        "size": size,
        "ef": ef,
        "fps": fps,
        "frames": int(_number(row, "NumberOfFrames", file, number)),
    }


def _read_outlines(file: Path, tell: Tell) -> dict[str, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Video name → frame → the outline's x and y, from the rows of `VolumeTracings.csv` in their order."""
    chords: dict[str, dict[int, list[tuple[float, float, float, float]]]] = {}
    for number, row in rows(file, TRACING_COLUMNS, tell):
        try:
            x1, y1, x2, y2 = (_number(row, key, file, number) for key in ("X1", "Y1", "X2", "Y2"))
            frame, name = int(_number(row, "Frame", file, number)), stem(row["FileName"], file, number)
        except DataError as error:
            tell(error)
            continue
        chords.setdefault(name, {}).setdefault(frame, []).append((x1, y1, x2, y2))
    return {
        name: {frame: _outline(np.array(rows)) for frame, rows in frames.items()} for name, frames in chords.items()
    }


def _outline(chords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x1, y1, x2, y2 = chords[1:].T
    return np.concatenate([x1, x2[::-1]]), np.concatenate([y1, y2[::-1]])


def rows(file: Path, columns: tuple[str, ...], tell: Tell = stop) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file with their numbers; every line has all `columns`.

    A line that is cut short is told, and left out where that does not stop. Raises DataError for a file that cannot be
    read or lacks a column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ())
                raise DataError(
                    f"has no column {', '.join(missing)}", file=file, remedy=f"its first line names {found}"
                )
            for row in reader:
                if any(row[name] is None for name in columns):
                    tell(
                        DataError(
                            "is cut short", file=file, place=f"line {reader.line_num}", remedy="copy the file again"
                        )
                    )
                    continue
                yield reader.line_num, row
    except PermissionError:
        raise denied(file) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read as CSV ({error})", file=file, remedy="copy it again") from error


def stem(name: str, file: Path, number: int) -> str:
    """A video's name: the tracings write it with `.avi`, the list without."""
    name = name.strip()
    if name.lower().endswith(".avi"):
        name = name[:-4]
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise DataError(
            f"FileName: {name!r} is not the name of a file in the video folder",
            file=file,
            place=f"line {number}",
            remedy="write the video's name without a folder",
        )
    return name


def _number(row: dict[str, str], key: str, file: Path, number: int) -> float:
    try:
        value = float(row[key])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(
            f"{key}: {row[key]!r} is not a number", file=file, place=f"line {number}", remedy="write it in digits"
        )
    return value


def read_grey(file: Path) -> Float[Tensor, "t 1 y x"]:
    """All frames of a video in [0, 1], as `memx predict` reads them.

    Raises DataError for a video that is missing, cut short or damaged, naming the frame, or may not be read.
    """
    try:
        return VideoStream(file).read()
    except FileNotFoundError:
        raise DataError("is missing", file=file, remedy="copy it again from the data set") from None
