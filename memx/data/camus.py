"""CAMUS in its NIfTI layout: apical two- and four-chamber half cycles with masks of LV, myocardium and left atrium."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from memx.data.clip import Case, Clip, Layout, Skipped, Survey
from memx.data.nifti import open_nifti, pixels, spacing
from memx.data.pixels import label_values, same_size, unit_pixels
from memx.data.split import read_split_files, split_by_patient
from memx.errors import DataError
from memx.registry import layouts

View = Literal["2CH", "4CH"]
_SUBGROUPS = {"train": "training", "val": "validation", "test": "testing"}


@layouts.register("camus")
class Camus(Layout):
    """CAMUS, NIfTI layout: `database_nifti/patientXXXX/patientXXXX_{2CH,4CH}_….nii.gz` and `Info_….cfg`.

    A clip runs from ED to ES: a half sequence that was stored from ES to ED, which only the cfg tells, is reversed.
    NIfTI's (x, y, t) becomes (t, y, x), and the spacing goes along as (y, x) in mm; a header without a unit means mm,
    except for 1 × 1, which means that nobody knew. Sizes differ between patients.
    Patients are split by `database_split/subgroup_{training,validation,testing}.txt`; without these files by
    `split_by_patient`, 80 / 10 / 10. The root is the data set's folder or its `database_nifti`.

    Source: Leclerc et al., IEEE TMI 38(9), 2019.
    """

    source = (
        "CAMUS comes from https://www.creatis.insa-lyon.fr/Challenge/camus/ "
        "(after registration; CC BY-NC-SA 4.0)\n"
        "To point at your copy: memx train recipes/gdkvm_camus.yaml data.root=/path/to/CAMUS_public\n"
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
            Literal["half", "ed_es"],
            Field(description="`half`: the whole half cycle, every frame labelled; `ed_es`: the two still frames only"),
        ] = "half",
    ):
        self.views = tuple(dict.fromkeys(views))
        self.sequence = sequence

    def survey(self, root: Path) -> Survey:
        folder = self._patients_folder(Path(root))
        patients = sorted(path for path in folder.glob("patient*") if path.is_dir())
        base = folder.parent if folder.name == "database_nifti" else folder
        files = {split: base / "database_split" / f"subgroup_{name}.txt" for split, name in _SUBGROUPS.items()}
        assigned = read_split_files(files)
        if assigned is None:
            assigned = split_by_patient(path.name for path in patients)
        cases: list[Case] = []
        skipped = [
            Skipped(name, f"listed in {base / 'database_split'}, but has no folder")
            for name in sorted(assigned.keys() - {path.name for path in patients})
        ]
        missing: list[Path] = []
        for path in patients:
            if path.name not in assigned:
                skipped.append(Skipped(path.name, f"in none of the lists in {base / 'database_split'}"))
                continue
            for view in self.views:
                case = Case(f"{path.name}_{view}", path.name, view, assigned[path.name], self._files(path, view))
                absent = [file for file in case.files.values() if not file.is_file()]
                if len(absent) == len(case.files):
                    skipped.append(Skipped(case.id, "no file of this view"))
                    continue
                missing += absent
                cases.append(case)
        if missing:
            shown = "\n".join(f"  {path}" for path in missing[:10])
            raise DataError(
                f"{len(missing)} files are missing; copy these patients again, or remove their folders:\n{shown}"
            )
        return Survey(cases, skipped)

    def _patients_folder(self, root: Path) -> Path:
        if not root.is_dir():
            raise self.not_here(root, "no such folder")
        for folder in (root / "database_nifti", root):
            if any(path.is_dir() for path in folder.glob("patient*")):
                if any(folder.glob("patient*/*.nii.gz")):
                    return folder
                old = any(folder.glob("patient*/*.mhd"))
                raise self.not_here(
                    folder, "the older MHD release; the NIfTI one is wanted" if old else "no *.nii.gz in it"
                )
        raise self.not_here(root, "no database_nifti/patientXXXX folders in it")

    def _files(self, folder: Path, view: str) -> dict[str, Path]:
        stem = folder / f"{folder.name}_{view}"
        info = {"info": folder / f"Info_{view}.cfg"}
        parts = {"": "half_sequence"} if self.sequence == "half" else {"ed_": "ED", "es_": "ES"}
        for prefix, part in parts.items():
            info[f"{prefix}video"] = Path(f"{stem}_{part}.nii.gz")
            info[f"{prefix}labels"] = Path(f"{stem}_{part}_gt.nii.gz")
        return info

    def load(self, case: Case) -> Clip:
        info = _Info(case.files["info"])
        if self.sequence == "half":
            image, labels = self._pair(case.files["video"], case.files["labels"], axes=3)
            ed, es = info.phases(len(image.pixels))
            if ed > es:
                image, labels = _Image(image.pixels[::-1], image.spacing), labels[::-1]
                ed, es = len(labels) - 1 - ed, len(labels) - 1 - es
            pixels, fps, source = image.pixels, info.number("FrameRate", at_least=0, at_most=1000), case.files["video"]
        else:
            image, ed_labels = self._pair(case.files["ed_video"], case.files["ed_labels"], axes=2)
            end, es_labels = self._pair(case.files["es_video"], case.files["es_labels"], axes=2)
            ed_file, es_file = case.files["ed_video"], case.files["es_video"]
            if image.pixels.shape != end.pixels.shape or not _alike(image.spacing, end.spacing):
                raise DataError(
                    f"{es_file}: {end.words()}, but {ed_file.name} is {image.words()}; both must be of one acquisition"
                )
            pixels, labels = np.stack([image.pixels, end.pixels]), np.stack([ed_labels, es_labels])
            ed, es, fps, source = 0, 1, None, ed_file
        return Clip(
            video=torch.from_numpy(np.ascontiguousarray(pixels))[:, None],
            labels=torch.from_numpy(np.ascontiguousarray(labels)),
            labelled=torch.ones(len(labels), dtype=torch.bool),
            spacing=image.spacing,
            fps=fps or None,
            patient=case.patient,
            view=case.view,
            ed=ed,
            es=es,
            ef=info.number("EF", at_least=0, at_most=100),
            source=source,
            extra={key: info.words[key] for key in ("ImageQuality", "Sex", "Age") if key in info.words},
        )

    def _pair(self, image_file: Path, mask_file: Path, *, axes: int) -> tuple[_Image, np.ndarray]:
        raw, mask = _read_nifti(image_file, axes), _read_nifti(mask_file, axes)
        same_size(raw.pixels.shape, mask.pixels.shape, image_file, mask_file)
        labels = label_values(mask.pixels, mask_file, self.labels.keys())
        return _Image(unit_pixels(raw.pixels, image_file), raw.spacing), labels


@dataclass(frozen=True)
class _Image:
    """(t, y, x) or (y, x) pixels and their (y, x) spacing in mm, or None where the header does not know."""

    pixels: np.ndarray
    spacing: tuple[float, float] | None

    def words(self) -> str:
        y, x = self.pixels.shape[-2:]
        each = f"{self.spacing[0]:.4g} × {self.spacing[1]:.4g} mm" if self.spacing else "unknown size"
        return f"{y} × {x} pixels of {each} (y × x)"


def _alike(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether two spacings are one, to 0.1%."""
    return one == other or (one is not None and other is not None and np.allclose(one, other, rtol=1e-3))


def _read_nifti(file: Path, axes: int) -> _Image:
    """NIfTI keeps (x, y) or (x, y, t); the axes are turned round to (y, x) or (t, y, x)."""
    image = open_nifti(file)
    array = pixels(image, file)
    if array.ndim > axes:
        array = array.reshape(*array.shape[:2], *(n for n in array.shape[2:] if n > 1))
    if array.ndim < axes and axes == 3:
        array = array[..., None]
    if array.ndim != axes:
        wanted = "(x, y, t)" if axes == 3 else "(x, y)"
        raise DataError(f"{file}: has axes of {array.shape}; want {wanted}")
    return _Image(array.transpose(), spacing(image.header)[0])


class _Info:
    """`Info_{2CH,4CH}.cfg`: one `Key: value` a line; ED and ES count from 1."""

    def __init__(self, file: Path):
        self.file = file
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(f"{file}: is missing; copy the patient again from the data set") from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read ({error}); copy it again") from error
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        self.words = {key.strip(): value.strip() for key, value in pairs}

    def phases(self, frames: int) -> tuple[int, int]:
        """0-based frames of ED and ES, checked against the number of frames there are."""
        count = self._whole("NbFrame") if "NbFrame" in self.words else frames
        if count != frames:
            raise DataError(
                f"{self.file}: says NbFrame: {count}, but the sequence has {frames} frames; copy the patient again"
            )
        ed, es = (self._whole(key) for key in ("ED", "ES"))
        for key, value in (("ED", ed), ("ES", es)):
            if not 1 <= value <= frames:
                raise DataError(f"{self.file}: {key}: {value} is out of range; the sequence has frames 1..{frames}")
        if ed == es:
            raise DataError(f"{self.file}: ED and ES are both frame {ed}; they must differ")
        return ed - 1, es - 1

    def number(self, key: str, *, at_least: float, at_most: float) -> float | None:
        """A number that may be absent."""
        if key not in self.words:
            return None
        try:
            value = float(self.words[key])
        except ValueError:
            raise DataError(f"{self.file}: {key}: {self.words[key]!r} is not a number") from None
        if not at_least <= value <= at_most:
            raise DataError(f"{self.file}: {key}: {value:g} is out of range; want {at_least:g}..{at_most:g}")
        return value

    def _whole(self, key: str) -> int:
        if key not in self.words:
            raise DataError(
                f"{self.file}: has no {key}; it has {', '.join(self.words) or 'no keys'}, and ED and ES are wanted"
            )
        try:
            return int(self.words[key])
        except ValueError:
            raise DataError(f"{self.file}: {key}: {self.words[key]!r} is not a whole number") from None
