"""CAMUS: apical two- and four-chamber half cycles with masks of LV, myocardium and left atrium, in both releases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from memx.data.access import entries, is_dir, is_file
from memx.data.camus_image import read_mask, read_picture
from memx.data.camus_info import Info
from memx.data.camus_release import Sequence, find_release
from memx.data.clip import Case, Clip, Layout, MissingFilesError, Skipped, Survey, Tell, stop
from memx.data.split import split_by_patient
from memx.errors import DataError
from memx.registry import Neutral, layouts

if TYPE_CHECKING:
    from memx.data.check.layout import LayoutChecks

View = Literal["2CH", "4CH"]


@layouts.register("camus")
class Camus(Layout):
    """CAMUS, the NIfTI release or the older MetaImage one, told apart by what lies in the root.

        database_nifti/patientXXXX/patientXXXX_{2CH,4CH}_{half_sequence,ED,ES}{,_gt}.nii.gz
        database_split/subgroup_{training,validation,testing}.txt

        training/patientXXXX/patientXXXX_{2CH,4CH}_{sequence,ED,ES}{,_gt}.{mhd,raw}
        training/listSubGroups/subGroup{1..10}_{training,validation,testing}.txt

    and in both `Info_{2CH,4CH}.cfg` beside the pictures. A clip runs from ED to ES: a half sequence that was stored
    from ES to ED, which only the cfg tells, is reversed. NIfTI's (x, y, t) becomes (t, y, x), which is what SimpleITK
    gives for MetaImage, and the spacing goes along as (y, x) in mm; a NIfTI header without a unit means mm, except for
    1 × 1, which means that nobody knew. Sizes differ between patients. In the older release a sequence without masks
    of its own (`_sequence_gt`) is labelled in its ED and ES frames, by `_ED_gt` and `_ES_gt`.
    Patients without any list are split by `split_by_patient`, 80 / 10 / 10. The root is the data set's folder or the
    patients' one.

    Source: Leclerc et al., IEEE TMI 38(9), 2019.
    """

    source = (
        "CAMUS comes from https://www.creatis.insa-lyon.fr/Challenge/camus/ "
        "(after registration; CC BY-NC-SA 4.0)\n"
        "To point at your copy: data.root=/path/to/CAMUS_public (the folder with database_nifti, or with training)\n"
        "To train on the phantom instead: memx data phantom data/phantom --layout camus --patients 32, "
        "then memx train gdkvm_phantom"
    )
    labels: ClassVar[Mapping[int, str]] = {0: "background", 1: "lv", 2: "myocardium", 3: "la"}

    def __init__(
        self,
        *,
        views: Annotated[
            tuple[View, ...], Field(min_length=1, description="the apical views to read, each a case of its own")
        ] = ("2CH", "4CH"),
        sequence: Annotated[
            Sequence,
            Field(description="`half`: the whole half cycle, every frame labelled; `ed_es`: the two still frames only"),
        ] = "half",
        fold: Annotated[
            int,
            Field(ge=1, le=10, description="the older release's split: which of the ten in listSubGroups"),
            Neutral(1),
        ] = 1,
    ):
        self.views = tuple(dict.fromkeys(views))
        self.sequence: Sequence = sequence
        self.fold = fold

    def survey(self, root: Path) -> Survey:
        return self.collect(root, stop)

    def checks(self) -> LayoutChecks:
        from memx.data.check.camus import CamusChecks

        return CamusChecks(self)

    def collect(self, root: Path, tell: Tell) -> Survey:
        root = Path(root)
        if not is_dir(root):
            raise self.not_here(root, "no such folder")
        entries(root)
        release = find_release(root)
        if release is None:
            raise self.not_here(root, "no database_nifti/patientXXXX/*.nii.gz or training/patientXXXX/*.mhd in it")
        patients = release.patients()
        assigned = release.splits(self.fold, tell)
        if assigned is None:
            assigned = split_by_patient(path.name for path in patients)
        cases: list[Case] = []
        skipped = [
            Skipped(name, f"listed in {release.lists.name}, but has no folder", "absent")
            for name in sorted(assigned.keys() - {path.name for path in patients})
        ]
        missing: list[Path] = []
        for path in patients:
            if path.name not in assigned:
                skipped.append(Skipped(path.name, f"in none of the lists in {release.lists.name}", "unlisted"))
                continue
            for view in self.views:
                try:
                    files = release.files(path, view, self.sequence)
                    absent = [file for file in files.values() if not is_file(file)]
                except DataError as closed:
                    tell(closed)
                    break
                case = Case(f"{path.name}_{view}", path.name, view, assigned[path.name], files)
                if len(absent) == len(files):
                    skipped.append(Skipped(case.id, "no file of this view"))
                elif release.suffix == ".mhd" and {f for part, f in files.items() if "labels" in part} <= set(absent):
                    skipped.append(Skipped(case.id, "no mask, as the challenge's testing patients", "unlabelled"))
                else:
                    missing += absent
                    cases += [case] * (not absent)
        if missing:
            tell(MissingFilesError(missing, "copy these patients again, or remove their folders"))
        return Survey(cases, skipped)

    def load(self, case: Case) -> Clip:
        info = Info(case.files["info"])
        clip = self._half(case, info) if self.sequence == "half" else self._stills(case)
        known = {key: info.words[key] for key in ("ImageQuality", "Sex", "Age") if key in info.words}
        return clip.replace(patient=case.patient, view=case.view, ef=info.ef, extra=known)

    def _half(self, case: Case, info: Info) -> Clip:
        image = read_picture(case.files["video"], 3)
        ed, es = info.phases(len(image.pixels))
        if "labels" in case.files:
            labels = self._mask(case, "labels", "video", image.pixels.shape)
            labelled = np.ones(len(labels), dtype=bool)
        else:
            labels, labelled = np.zeros(image.pixels.shape, np.uint8), np.zeros(len(image.pixels), dtype=bool)
            for frame, part in ((ed, "ed_labels"), (es, "es_labels")):
                labels[frame] = self._mask(case, part, "video", image.pixels.shape[1:])
                labelled[frame] = True
        pixels = image.pixels
        if ed > es:
            pixels, labels, labelled = pixels[::-1], labels[::-1], labelled[::-1]
            ed, es = len(labels) - 1 - ed, len(labels) - 1 - es
        return Clip(
            video=_tensor(pixels)[:, None],
            labels=_tensor(labels),
            labelled=_tensor(labelled),
            spacing=image.spacing,
            fps=info.number("FrameRate", at_least=0, at_most=1000) or None,
            ed=ed,
            es=es,
            source=case.files["video"],
        )

    def _stills(self, case: Case) -> Clip:
        ed_file, es_file = case.files["ed_video"], case.files["es_video"]
        ed, es = read_picture(ed_file, 2), read_picture(es_file, 2)
        labels = [
            self._mask(case, f"{phase}_labels", f"{phase}_video", image.pixels.shape)
            for phase, image in (("ed", ed), ("es", es))
        ]
        if not ed.alike(es):
            raise DataError(
                f"{es.words()}, but {ed_file.name} is {ed.words()}",
                file=es_file,
                remedy="both must be of one acquisition",
            )
        return Clip(
            video=_tensor(np.stack([ed.pixels, es.pixels]))[:, None],
            labels=_tensor(np.stack(labels)),
            labelled=torch.ones(2, dtype=torch.bool),
            spacing=ed.spacing,
            ed=0,
            es=1,
            source=ed_file,
        )

    def _mask(self, case: Case, part: str, picture: str, shape: tuple[int, ...]) -> np.ndarray:
        return read_mask(case.files[part], case.files[picture], shape, frozenset(self.labels))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
