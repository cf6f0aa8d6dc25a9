"""One thing that is wrong with a data set: where, what, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from memx.data.clip import Case, MissingFilesError
from memx.errors import DataError

Severity = Literal["error", "warning"]
_REMEDY = "mend it, or leave the case out"


@dataclass(frozen=True)
class Problem:
    """Something wrong or odd in a data set.

    severity  `error`: would train or score wrongly, or be left out; `warning`: odd, but handled
    where     the file, or the file and its line, or the case
    what      what is wrong with it
    remedy    what to do
    case      the case it belongs to, or an empty string
    """

    severity: Severity
    where: str
    what: str
    remedy: str
    case: str = ""

    def under(self, root: Path) -> Problem:
        """The same with paths relative to the data set's root."""
        where, what, remedy = (re.sub(f"{re.escape(str(root))}/", "", t) for t in (self.where, self.what, self.remedy))
        return replace(self, where=where, what=what, remedy=remedy)


def error(where: Path | str, what: str, remedy: str, case: Case | None = None) -> Problem:
    return Problem("error", str(where), what, remedy, case.id if case else "")


def warning(where: Path | str, what: str, remedy: str, case: Case | None = None) -> Problem:
    return Problem("warning", str(where), what, remedy, case.id if case else "")


def from_error(raised: DataError, case: Case | None = None) -> list[Problem]:
    """A reader's error as problems. Its message reads `FILE: what; what to do`."""
    if isinstance(raised, MissingFilesError):
        return [error(file, "is missing", raised.remedy, case) for file in raised.files]
    message = str(raised).split("\n", 1)[0]
    where, colon, rest = message.partition(": ")
    if not colon:
        where, rest = (case.id if case else "data set"), message
    what, semicolon, remedy = rest.rpartition("; ")
    if not semicolon:
        what, remedy = rest, _REMEDY
    return [error(where, what, remedy, case)]


def unique(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Each problem once, errors first, otherwise in their order."""
    seen = dict.fromkeys(problems)
    yield from (problem for problem in seen if problem.severity == "error")
    yield from (problem for problem in seen if problem.severity == "warning")
