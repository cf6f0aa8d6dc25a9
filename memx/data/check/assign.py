"""A split of patients by chance that is the same everywhere, and its files."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from memx.data.clip import SPLITS, Layout
from memx.errors import DataError, UserError
from memx.files import write_text


def assign(names: Iterable[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """`train`, `val` or `test` for every name, in the given shares, by the SHA-256 of the seed and the name.

    The same names, shares and seed give the same split on every machine, in any order. Counts are rounded by largest
    remainders; a share above 0 gets at least one name. Raises UserError when shares are negative or do not add up to 1,
    or when there are fewer names than splits.
    """
    if any(not 0 <= shares[split] <= 1 for split in SPLITS) or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        said = ", ".join(f"--{split} {shares[split]:g}" for split in SPLITS)
        raise UserError(f"{said}: shares are from 0 to 1 and add up to 1; these add up to {sum(shares.values()):g}")
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    wanted = [split for split in SPLITS if shares[split] > 0]
    if len(ordered) < len(wanted):
        raise UserError(f"{len(ordered)} patients cannot fill {len(wanted)} splits; set the share of one to 0")
    counts = {split: max(1, math.floor(len(ordered) * shares[split] + 1e-9)) for split in wanted}
    while (left := len(ordered) - sum(counts.values())) != 0:
        step = 1 if left > 0 else -1
        over = {split: counts[split] - len(ordered) * shares[split] for split in wanted}
        movable = [split for split in wanted if step > 0 or counts[split] > 1]
        chosen = min(movable, key=lambda split: over[split]) if step > 0 else max(movable, key=lambda s: over[s])
        counts[chosen] += step
    places = [split for split in wanted for _ in range(counts[split])]
    return dict(zip(ordered, places, strict=True))


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
        raise DataError(f"{root}: has no clips to split")
    patients = {name: patient_of(name, by) for name in names}
    places = assign(patients.values(), shares, seed)
    assigned = {name: places[patient] for name, patient in patients.items()}
    files = checks.split_files(root, assigned, seed)
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise UserError(f"{', '.join(there)}: there already; --force writes over {'it' if len(there) == 1 else 'them'}")
    for file, text in files.items():
        write_text(file, text)
    return assigned, list(files)
