"""The patients of a data set drawn into splits, and the lists that say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from memx.data.clip import Layout
from memx.data.split import split_names
from memx.errors import DataError, UserError
from memx.files import write_text


def patient_of(name: str, pattern: str) -> str:
    """The patient of a clip: what `pattern` matches in its name, or its first group. `patient` means the name itself.

    Raises UserError for a pattern that does not match the name or is none.
    """
    if pattern == "patient":
        return name
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise UserError(f"--by {pattern}: no regular expression ({error}); e.g. --by '^[^_]+'") from None
    if match is None or not (found := match[1] if match.re.groups else match[0]):
        raise UserError(f"--by {pattern}: finds no patient in the name {name!r}; e.g. --by '^[^_]+'")
    return found


def write_split(
    layout: Layout, root: Path, shares: Mapping[str, float], *, seed: int, by: str, force: bool
) -> tuple[dict[str, str], list[Path]]:
    """Write a data set's split lists in its layout's own way: the split of each name, and the files.

    Names of one patient (`patient_of`) never stand in two splits. Raises DataError for a data set without names, and
    UserError when a file is there already and `force` is not given.
    """
    checks = layout.checks()
    names = checks.names(root)
    if not names:
        raise DataError("has no clips to split", file=root, remedy=f"see memx data check {root}")
    patients = {name: patient_of(name, by) for name in names}
    places = split_names(patients.values(), shares, seed)
    assigned = {name: places[patient] for name, patient in patients.items()}
    files = checks.split_files(root, assigned, seed)
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise UserError(f"{', '.join(there)}: there already; --force writes over {'it' if len(there) == 1 else 'them'}")
    for file, text in files.items():
        write_text(file, text)
    return assigned, list(files)
