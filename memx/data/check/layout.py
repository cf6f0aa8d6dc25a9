"""What a layout may say about a data set beyond `survey` and `load`: the hook for layouts of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from memx.data.check.facts import Facts, clip_facts
from memx.data.check.problem import Problem, error
from memx.data.clip import Case, Clip, Layout, Skipped, Survey
from memx.errors import DataError, UserError


class LayoutChecks:
    """What `memx data check`, `info` and `split` ask of a layout; every answer has a default from `survey` and `load`.

    A layout overrides `Layout.checks` to return a subclass of its own.

    looks_for  what `recognises` looks for, in one line
    """

    looks_for: ClassVar[str] = "what its survey accepts"

    def __init__(self, layout: Layout):
        self.layout = layout

    def recognises(self, root: Path) -> bool:
        """Whether a folder is meant to be of this layout, even where much of it is missing or wrong."""
        try:
            survey = self.layout.survey(root)
        except DataError:
            return False
        return bool(survey.cases or survey.skipped)

    def left_out(self, skipped: Skipped) -> Problem:
        """What `survey` leaves out, as a problem: an error, unless it is known and meant."""
        return error(skipped.what, skipped.why, "complete it, or remove what is left of it")

    def data_set(self, root: Path, survey: Survey) -> Iterator[Problem]:
        """What is wrong with lists, tables and names, before any clip is read."""
        yield from ()

    def parts(self, case: Case) -> Iterator[Problem]:
        """What is wrong with each file of a case by itself; asked when `load` fails, which stops at the first."""
        yield from ()

    def clip(self, case: Case, clip: Clip) -> Iterator[Problem]:
        """What is wrong with a clip that could be read, beyond what holds for any layout."""
        yield from ()

    def facts(self, case: Case) -> Facts:
        """A case's numbers, from headers alone where that is possible. Raises DataError as `load` does."""
        return clip_facts(case, self.layout.load(case))

    def names(self, root: Path) -> list[str]:
        """What a split's lists name: the patients of the data set, whatever the lists that are there say."""
        return sorted({case.patient for case in self.layout.survey(root).cases})

    def split_files(self, root: Path, assigned: Mapping[str, str], seed: int) -> dict[Path, str]:
        """The files, and their text, that say in this layout's own way which split each of `names` belongs to."""
        raise UserError(f"{root}: the layout {type(self.layout).__name__} has no split lists that memx could write")

    def use_split(self, root: Path) -> str:
        """How the files of `split_files` come into effect."""
        return "memx reads these lists from now on"
