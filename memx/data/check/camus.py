"""What `memx data check` knows of CAMUS, in both releases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import numpy as np

from memx.data.access import is_dir, is_file
from memx.data.camus_image import read_spacing, read_stored
from memx.data.camus_info import Info
from memx.data.camus_release import find_release
from memx.data.check.camus_stills import against_stills
from memx.data.check.echo import extent
from memx.data.check.facts import Facts
from memx.data.check.layout import LayoutChecks
from memx.data.check.problem import Problem, error, from_error, warning
from memx.data.clip import Case, Clip, Skipped, Survey
from memx.data.nifti import open_nifti, spacing
from memx.data.pixels import label_values, same_size, unit_pixels
from memx.errors import DataError

if TYPE_CHECKING:
    from memx.data.camus import Camus

T = TypeVar("T")


class CamusChecks(LayoutChecks):
    """Patients' folders, half sequences and still frames, `Info_….cfg`, and the lists of the split."""

    looks_for: ClassVar[str] = "database_nifti/patient*/*.nii.gz, or training/patient*/*.mhd (the older release)"
    layout: Camus

    def recognises(self, root: Path) -> bool:
        return find_release(root) is not None or is_dir(root / "database_nifti")

    def left_out(self, skipped: Skipped) -> Problem:
        if skipped.reason == "unlabelled":
            return warning(skipped.what, skipped.why, "none: they are known to have no masks")
        remedies = {
            "unlisted": "add the patient to one of the lists, or write new ones: memx data split ROOT --force",
            "absent": "copy the patient's folder, or remove the name from the list",
        }
        remedy = remedies.get(skipped.reason, "copy the patient again, or remove its folder")
        return error(skipped.what, skipped.why, remedy)

    def data_set(self, root: Path, survey: Survey) -> Iterator[Problem]:
        release = find_release(root)
        if release is None:
            return
        other = "ed_es" if self.layout.sequence == "half" else "half"
        for case in survey.cases:
            folder = release.folder / case.patient
            for file in release.files(folder, case.view, other).values():
                if not is_file(file):
                    said = f"is missing; data.layout.sequence={self.layout.sequence} does not read it"
                    yield warning(file, said, "copy it again, to have the data set whole", case)

    def parts(self, case: Case) -> Iterator[Problem]:
        files = case.files
        pictures = ["video"] if "video" in files else ["ed_video", "es_video"]
        found: list[DataError] = []
        shapes = {part: _shape(files[part], 3 if part == "video" else 2, found) for part in pictures}
        for part in ("labels", "ed_labels", "es_labels"):
            if part in files:
                of = part.replace("labels", "video")
                of = of if of in files else "video"
                self._mask(files[part], files[of], shapes[of], 3 if part == "labels" else 2, found)
        frames = shapes.get("video")
        for ask in (
            lambda: Info(files["info"]).phases(frames[0]) if frames else None,
            lambda: Info(files["info"]).ef,
            lambda: Info(files["info"]).number("FrameRate", at_least=0, at_most=1000),
        ):
            _listen(ask, found)
        for raised in found:
            yield from from_error(raised, case)

    def _mask(
        self, file: Path, of: Path, shape: tuple[int, ...] | None, axes: Literal[2, 3], found: list[DataError]
    ) -> None:
        stored = _listen(lambda: read_stored(file, axes), found)
        if stored is not None:
            _listen(lambda: label_values(stored.pixels, file, self.layout.labels), found)
            if shape is not None:
                _listen(lambda: same_size(shape[-axes:], stored.pixels.shape, of, file), found)

    def clip(self, case: Case, clip: Clip) -> Iterator[Problem]:
        yield from extent(case, clip)
        if "video" in case.files:
            info = Info(case.files["info"])
            ed, es = info.phases(len(clip))
            if ed > es:
                yield warning(case.files["info"], "the sequence is stored from ES to ED", "none: it is reversed", case)
            if "NbFrame" not in info.words:
                yield warning(case.files["info"], "has no NbFrame", "the file's own count stands", case)
            yield from against_stills(case, clip, self._stills(case))
        for part, file in case.files.items():
            picture = case.files.get(part.replace("labels", "video"), case.files.get("video"))
            if part.endswith("labels") and picture is not None:
                yield from _one_spacing(case, file, picture)
        if clip.ef is None:
            yield warning(case.files["info"], "has no EF", "none: its EF will not be scored", case)

    def _stills(self, case: Case) -> dict[str, Path]:
        """The still frames of a half sequence's view, there or not."""
        folder = case.files["video"].parent
        release = find_release(folder.parent)
        return {} if release is None else release.files(folder, case.view, "ed_es")

    def facts(self, case: Case) -> Facts:
        part = "video" if "video" in case.files else "ed_video"
        file, info = case.files[part], Info(case.files["info"])
        if file.suffix == ".mhd":
            return super().facts(case)
        header = open_nifti(file).header
        x, y, *t = (int(n) for n in header.get_data_shape())
        frames = 2 if part == "ed_video" else math.prod(t)
        labelled = frames if "labels" in case.files or part == "ed_video" else 2
        fps = info.number("FrameRate", at_least=0, at_most=1000) or None
        return Facts(case, frames, (y, x), spacing(header)[0], fps, info.ef, labelled)

    def names(self, root: Path) -> list[str]:
        release = find_release(root)
        return [] if release is None else [path.name for path in release.patients()]

    def split_files(self, root: Path, assigned: Mapping[str, str], seed: int) -> dict[Path, str]:
        release = find_release(root)
        assert release is not None, "names() found patients"
        return {
            file: "".join(f"{name}\n" for name in sorted(assigned) if assigned[name] == split)
            for split, file in release.list_files(self.layout.fold).items()
        }


def _one_spacing(case: Case, mask: Path, picture: Path) -> Iterator[Problem]:
    """A mask whose header has another pixel size than its picture's."""
    own, other = read_spacing(mask), read_spacing(picture)
    if own and other and not np.allclose(own, other, rtol=1e-3):
        each = [f"{y:.4g} × {x:.4g}" for y, x in (own, other)]
        what = f"its pixels are {each[0]} mm (y × x), those of {picture.name} {each[1]} mm"
        yield warning(mask, what, "make sure which is right: the picture's counts", case)


def _shape(file: Path, axes: Literal[2, 3], found: list[DataError]) -> tuple[int, ...] | None:
    """The shape of a picture, whatever else is wrong with it; None where it cannot be read at all."""
    stored = _listen(lambda: read_stored(file, axes), found)
    if stored is None:
        return None
    _listen(lambda: unit_pixels(stored.pixels, file), found)
    return stored.pixels.shape


def _listen(ask: Callable[[], T], found: list[DataError]) -> T | None:
    """What is asked for, or None where it raises, which is then among what was found."""
    try:
        return ask()
    except DataError as raised:
        found.append(raised)
        return None
