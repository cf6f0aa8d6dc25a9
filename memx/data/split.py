"""Which patients train, validate and test, for a data set that does not say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from memx.data.clip import SPLITS, Tell, stop
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


def read_split_files(files: dict[str, Path], tell: Tell = stop) -> dict[str, str] | None:
    """The split of each name from one text file a split, a name a line; None when none of the files is there.

    Told, and raised by default, are a DataError for each file that is missing beside others, for one that cannot be
    read, and for a name that stands in two of them: the first one counts.
    """
    there = {split: path for split, path in files.items() if path.is_file()}
    if not there:
        return None
    missing = [str(path) for split, path in files.items() if split not in there]
    if missing:
        tell(
            DataError(
                f"{', '.join(missing)}: missing, though other split files are there; restore it or remove them all"
            )
        )
    assigned: dict[str, str] = {}
    for split in (split for split in SPLITS if split in there):
        try:
            lines = files[split].read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            tell(DataError(f"{files[split]}: cannot be read ({error}); it holds one name a line"))
            continue
        for name in filter(None, map(str.strip, lines)):
            if assigned.get(name, split) != split:
                tell(
                    DataError(
                        f"{files[split]}: {name} is also in split {assigned[name]!r}; a patient belongs to one split"
                    )
                )
            assigned.setdefault(name, split)
    return assigned
