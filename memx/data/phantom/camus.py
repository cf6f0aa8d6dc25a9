"""CAMUS's NIfTI layout: two half sequences a patient, their labels, their text files, and the split's lists."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import nibabel
import numpy as np

from memx.data.phantom.population import VIEWS, Patient
from memx.data.phantom.simulation import Simulation, simulate

_LISTS = {"train": "training", "val": "validation", "test": "testing"}


class Writer:
    """Adds patients to `root`; on leaving, writes the lists of the split."""

    folder = "database_nifti"
    lists_folder, list_name = "database_split", "subgroup_{}.txt"

    def __init__(self, root: Path, *, size: int, frames: int | None, aspect: float, lost: float) -> None:
        self.root, self.size, self.frames, self.aspect, self.lost = root, size, frames, aspect, lost
        self.lists: dict[str, list[str]] = {part: [] for part in _LISTS}

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            folder = self.root / self.lists_folder
            folder.mkdir(parents=True)
            for part, names in self.lists.items():
                lines = "".join(f"{name}\n" for name in names)
                (folder / self.list_name.format(_LISTS[part])).write_text(lines, encoding="utf-8")

    def add(self, person: Patient, part: str) -> dict[str, Any]:
        """Simulate and write one patient; what the data set calls it, and the frames of each view that are lost."""
        name = f"patient{person.index + 1:04d}"
        folder = self.root / self.folder / name
        folder.mkdir(parents=True)
        lost: dict[str, list[int]] = {}
        for view in VIEWS:
            clip = simulate(person, view, size=self.size, aspect=self.aspect, frames=self.frames, lost=self.lost)
            lost[view] = list(clip.lost)
            self._pictures(folder / f"{name}_{view}", clip)
            lines = "".join(f"{key}: {value}\n" for key, value in self._info(person, clip).items())
            (folder / f"Info_{view}.cfg").write_text(lines, encoding="utf-8")
        self.lists[part].append(name)
        return {"name": name, "lost": lost}

    def _pictures(self, stem: Path, clip: Simulation) -> None:
        for suffix, array in (("", clip.video), ("_gt", clip.labels)):
            _save(Path(f"{stem}_half_sequence{suffix}.nii.gz"), array, clip)
            _save(Path(f"{stem}_ED{suffix}.nii.gz"), array[clip.ed], clip)
            _save(Path(f"{stem}_ES{suffix}.nii.gz"), array[clip.es], clip)

    def _info(self, person: Patient, clip: Simulation) -> dict[str, Any]:
        return {
            **known(person, clip),
            "EF": f"{person.ef:.1f}",
            "FrameRate": f"{clip.fps:.1f}",
        }


def known(person: Patient, clip: Simulation) -> dict[str, Any]:
    """The lines that the cfg files of both releases share."""
    return {
        "ED": clip.ed + 1,
        "ES": clip.es + 1,
        "NbFrame": len(clip.video),
        "Sex": person.sex,
        "Age": person.age,
        "ImageQuality": person.quality,
    }


def _save(path: Path, array: np.ndarray, clip: Simulation) -> None:
    """Write (t, y, x) or (y, x) as (x, y, t) or (x, y), with the spacing, its units and ITK's axes in the header."""
    rows, cols = clip.spacing
    image = nibabel.Nifti1Image(array.T, np.diag([-cols, -rows, 1.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec" if array.ndim == 3 else None)
    nibabel.save(image, path)
