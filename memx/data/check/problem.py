"""One thing that is wrong with a data set: where, what, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from memx.data.clip import Case, MissingFilesError
from memx.data.split import TwoSplitsError
from memx.errors import DataError

Severity = Literal["error", "warning"]
COLUMNS = ("severity", "where", "what", "remedy", "case")
_REMEDY = "mend it, or leave the case out"


@dataclass(frozen=True)
class Problem:
    """Something wrong or odd in a data set.

    severity  `error`: would train or score wrongly, or be left out; `warning`: odd, but handled
    what      what is wrong
    remedy    what to do
    file      the file or folder that it is wrong with, or None
    place     where in the file, such as `line 3`, or the case where there is no file
    case      the case it belongs to, or an empty string
    leak      whether it is a patient or a clip in two splits
    """

    severity: Severity
    what: str
    remedy: str
    file: Path | None = None
    place: str = ""
    case: str = ""
    leak: bool = False

    @property
    def where(self) -> str:
        """The file and the place in it."""
        return ", ".join(filter(None, ("" if self.file is None else str(self.file), self.place)))

    def under(self, root: Path) -> Problem:
        """The same with the file relative to the data set's root; a library's words on it have its name alone."""
        if self.file is None or self.file == root or not self.file.is_relative_to(root):
            return self
        return replace(self, what=self.what.replace(str(self.file), self.file.name), file=self.file.relative_to(root))

    def json(self) -> dict[str, str]:
        """As plain data: a value for each of `COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}


def error(where: Path | str, what: str, remedy: str, case: Case | None = None, *, place: str = "") -> Problem:
    """An error in a file (a Path), at `place` in it, or at a place that is no file (a str)."""
    return _problem("error", where, what, remedy, case, place)


def warning(where: Path | str, what: str, remedy: str, case: Case | None = None, *, place: str = "") -> Problem:
    """A warning; as `error`."""
    return _problem("warning", where, what, remedy, case, place)


def from_error(raised: DataError, case: Case | None = None) -> list[Problem]:
    """A reader's error as problems, field by field; of what is wrong, the first line.

    A layout of one's own may give a message alone: it stands as it is, and belongs to the case.
    """
    if isinstance(raised, MissingFilesError):
        return [error(file, "is missing", raised.remedy, case) for file in raised.files]
    what, place = raised.what.split("\n", 1)[0], raised.place
    if raised.file is None and not place:
        place = case.id if case else "data set"
    leak = isinstance(raised, TwoSplitsError)
    return [Problem("error", what, raised.remedy or _REMEDY, raised.file, place, case.id if case else "", leak)]


def unique(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Each problem once, errors first, otherwise in their order."""
    seen = dict.fromkeys(problems)
    yield from (problem for problem in seen if problem.severity == "error")
    yield from (problem for problem in seen if problem.severity == "warning")


def _problem(severity: Severity, where: Path | str, what: str, remedy: str, case: Case | None, place: str) -> Problem:
    file = where if isinstance(where, Path) else None
    at = place if file else ", ".join(filter(None, (str(where), place)))
    return Problem(severity, what, remedy, file, at, case.id if case else "")
