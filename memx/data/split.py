"""Which patients train, validate and test: drawn by chance that is the same everywhere, or read from lists."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from memx.data.access import denied, is_file
from memx.data.clip import SPLITS, Tell, stop
from memx.errors import DataError, UserError

SHARES: Mapping[str, float] = MappingProxyType({"train": 0.8, "val": 0.1, "test": 0.1})


def split_names(names: Iterable[str], shares: Mapping[str, float] = SHARES, seed: int = 0) -> dict[str, str]:
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


def split_by_patient(patients: Iterable[str]) -> dict[str, str]:
    """The split of a data set that does not say: `split_names` with its shares and seed, 80 / 10 / 10.

    All clips of a patient fall together. Two patients train and test, one trains. Adding patients may move others.
    """
    names = sorted(set(patients))
    shares = {1: {"train": 1.0, "val": 0.0, "test": 0.0}, 2: {"train": 0.5, "val": 0.0, "test": 0.5}}
    return split_names(names, shares.get(len(names), SHARES)) if names else {}


class TwoSplitsError(DataError):
    """A patient or a clip is listed in two splits."""


def read_split_files(files: dict[str, Path], tell: Tell = stop) -> dict[str, str] | None:
    """The split of each name from one text file a split, a name a line; None when none of the files is there.

    Told, and raised by default, are a DataError for each file that is missing beside others, for one that cannot be
    read, and for a name that stands in two of them: the first one counts.
    """
    there = {split: path for split, path in files.items() if is_file(path)}
    if not there:
        return None
    for path in (path for split, path in files.items() if split not in there):
        tell(
            DataError("missing, though other split files are there", file=path, remedy="restore it or remove them all")
        )
    assigned: dict[str, str] = {}
    for split in (split for split in SPLITS if split in there):
        try:
            lines = files[split].read_text(encoding="utf-8").splitlines()
        except PermissionError:
            tell(denied(files[split]))
            continue
        except (OSError, UnicodeDecodeError) as error:
            tell(DataError(f"cannot be read ({error})", file=files[split], remedy="it holds one name a line"))
            continue
        for name in filter(None, map(str.strip, lines)):
            if assigned.get(name, split) != split:
                tell(
                    TwoSplitsError(
                        f"{name} is also in split {assigned[name]!r}",
                        file=files[split],
                        remedy="a patient belongs to one split",
                    )
                )
            assigned.setdefault(name, split)
    return assigned
