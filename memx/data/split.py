"""Which patients train, validate and test, for a data set that does not say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from memx.data.clip import SPLITS
from memx.errors import DataError


def split_by_patient(patients: Iterable[str]) -> dict[str, str]:
    """Assign every patient to `train`, `val` or `test`, 80 / 10 / 10, by the SHA-256 of the name.

    The same names give the same split on every machine, in any order, and all clips of a patient fall together.
    From two patients on one tests, from three on one validates. Adding patients may move others.
    """
    ordered = sorted(set(patients), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    tenth = max(1, round(len(ordered) / 10))
    test = tenth if len(ordered) >= 2 else 0
    val = tenth if len(ordered) >= 3 else 0
    names = ["test"] * test + ["val"] * val + ["train"] * (len(ordered) - test - val)
    return dict(zip(ordered, names, strict=True))


def read_split_files(files: dict[str, Path]) -> dict[str, str] | None:
    """The split of each name from one text file a split, a name a line; None when none of the files is there.

    Raises DataError when only some of the files are there, or a name stands in two of them.
    """
    there = {split: path for split, path in files.items() if path.is_file()}
    if not there:
        return None
    missing = [str(path) for split, path in files.items() if split not in there]
    if missing:
        raise DataError(
            f"{', '.join(missing)}: missing, though other split files are there; restore it or remove them all"
        )
    assigned: dict[str, str] = {}
    for split in SPLITS:
        try:
            lines = files[split].read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{files[split]}: cannot be read ({error}); it holds one name a line") from error
        for name in filter(None, map(str.strip, lines)):
            if assigned.get(name, split) != split:
                raise DataError(
                    f"{files[split]}: {name} is also in split {assigned[name]!r}; a patient belongs to one split"
                )
            assigned[name] = split
    return assigned
