"""Where the two releases of CAMUS keep their files: the NIfTI one, and the older one in MetaImage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memx.data.access import entries, is_dir, is_file
from memx.data.clip import Tell, stop
from memx.data.split import read_split_files
from memx.errors import DataError

_LISTS = {"train": "training", "val": "validation", "test": "testing"}
Sequence = Literal["half", "ed_es"]


@dataclass(frozen=True)
class Release:
    """One release of CAMUS on disk.

    folder   holds the patients' folders
    suffix   `.nii.gz` or `.mhd`; beside an `.mhd` lies its `.raw` (or, compressed, its `.zraw`)
    whole    what a half sequence is called: `half_sequence` or `sequence`
    lists    the folder of the split's lists
    """

    folder: Path
    suffix: Literal[".nii.gz", ".mhd"]
    whole: str
    lists: Path

    def patients(self) -> list[Path]:
        """The patients' folders, in the order of their names. Raises DataError where they may not be listed."""
        return [path for path in entries(self.folder) if path.name.startswith("patient") and is_dir(path)]

    def splits(self, fold: int, tell: Tell = stop) -> dict[str, str] | None:
        """The split of each patient, or None where there are no lists. Raises DataError for a fold without lists.

        Mistakes in the lists themselves are told, and raised by default.
        """
        if self.suffix == ".nii.gz":
            if fold != 1:
                raise DataError(
                    f"fold: {fold}, but this release has one split",
                    file=self.lists,
                    remedy="folds are the older release's",
                )
            return read_split_files(self.list_files(fold), tell)
        assigned = read_split_files(self.list_files(fold), tell)
        if assigned is None and is_dir(self.lists):
            there = sorted({path.name.split("_")[0] for path in self.lists.glob("subGroup*_*.txt")})
            raise DataError(
                f"has no subGroup{fold}_*.txt", file=self.lists, remedy=f"it has {', '.join(there) or 'no lists'}"
            )
        return assigned

    def list_files(self, fold: int) -> dict[str, Path]:
        """Where the list of each split is, or would be."""
        stem = "subgroup" if self.suffix == ".nii.gz" else f"subGroup{fold}"
        return {split: self.lists / f"{stem}_{name}.txt" for split, name in _LISTS.items()}

    def files(self, patient: Path, view: str, sequence: Sequence) -> dict[str, Path]:
        """The files of one view of a patient by their part; not all need be there.

        Raises DataError for a folder that may not be entered.
        `half`: info, video, and labels; in the older release, whose sequences mostly come without masks, ed_labels and
        es_labels instead. `ed_es`: info, ed_video, ed_labels, es_video, es_labels. Each `.mhd` brings its pixels' file.
        """
        stem = f"{patient / patient.name}_{view}_"
        parts = {"": self.whole} if sequence == "half" else {"ed_": "ED", "es_": "ES"}
        files = {"info": patient / f"Info_{view}.cfg"}
        for prefix, part in parts.items():
            files[f"{prefix}video"] = Path(f"{stem}{part}{self.suffix}")
            files[f"{prefix}labels"] = Path(f"{stem}{part}_gt{self.suffix}")
        if sequence == "half" and self.suffix == ".mhd" and not is_file(files["labels"]):
            del files["labels"]
            files |= {f"{phase}_labels": Path(f"{stem}{phase.upper()}_gt.mhd") for phase in ("ed", "es")}
        for part, file in list(files.items()):
            if file.suffix == ".mhd":
                packed = file.with_suffix(".zraw")
                files[f"{part}_pixels"] = packed if is_file(packed) else file.with_suffix(".raw")
        return files


def find_release(root: Path) -> Release | None:
    """The release that lies in `root`, its parent folder of patients found; None when there is no patient's folder.

    Where both are there, the NIfTI one, whose sequences are labelled throughout. Raises DataError when there is none
    and a folder may not be read.
    """
    for folder in (root / "database_nifti", root):
        if any(folder.glob("patient*/*.nii.gz")):
            base = folder.parent if folder.name == "database_nifti" else folder
            return Release(folder, ".nii.gz", "half_sequence", base / "database_split")
    for folder in (root / "training", root / "database", root):
        if any(folder.glob("patient*/*.mhd")):
            lists = folder / "listSubGroups"
            return Release(folder, ".mhd", "sequence", lists if is_dir(lists) else folder.parent / "listSubGroups")
    for folder in (root, *(root / name for name in ("database_nifti", "training", "database"))):
        if is_dir(folder):  # a folder that may not be read looks empty above
            for path in entries(folder):
                if path.name.startswith("patient") and is_dir(path):
                    entries(path)
    return None
