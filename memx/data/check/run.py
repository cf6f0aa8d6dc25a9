"""Read a whole data set and say what is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from memx.data.access import folder_to_read
from memx.data.check.clips import clip_problems
from memx.data.check.echo import Ventricle, far_from_masks, ventricle
from memx.data.check.facts import Facts, clip_facts
from memx.data.check.layout import LayoutChecks
from memx.data.check.leaks import SamePixels, patients_in_two_splits
from memx.data.check.problem import Problem, error, from_error, unique, warning
from memx.data.check.structures import missing_structures
from memx.data.check.summary import Summary, summarise
from memx.data.check.thumbnail import Thumbnail, evenly, thumbnail
from memx.data.clip import SPLITS, Case, Clip, Layout, Survey
from memx.data.faults import clip_faults
from memx.errors import DataError

THUMBNAILS = 24
_OF_PROBLEMS = 8  # thumbnails of clips with problems that are kept in addition
Progress = Callable[[int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Report:
    """What `check` found: errors before warnings, paths relative to `root`.

    thumbnails  ED and ES of some clips, those with problems among them
    """

    root: Path
    layout: str
    problems: list[Problem]
    summary: Summary
    thumbnails: list[Thumbnail]

    @property
    def errors(self) -> int:
        return sum(problem.severity == "error" for problem in self.problems)

    @property
    def warnings(self) -> int:
        return len(self.problems) - self.errors

    def json(self) -> dict[str, object]:
        """As plain data, without the thumbnails."""
        return {
            "root": str(self.root),
            "layout": self.layout,
            "errors": self.errors,
            "warnings": self.warnings,
            "problems": [problem.json() for problem in self.problems],
            "summary": self.summary.json(),
        }


def check(root: Path, layout: Layout, *, name: str, progress: Progress | None = None) -> Report:
    """Read every clip of a data set of a known layout, and report every problem.

    name      what the layout is registered as
    progress  called with the number of clips; gives what is called after each of them

    Nothing in the data set stops it, and nothing is written. Raises DataError only when `root` is no folder, or one
    that may not be read.
    """
    folder_to_read(root)
    checks, problems = layout.checks(), []
    survey = _survey(root, layout, problems)
    problems += _answers(lambda: _of_lists(root, checks, survey))
    facts: list[Facts] = []
    pixels, hearts = SamePixels(), defaultdict[str, list[Ventricle]](list)
    chosen, kept = evenly([case.id for case in survey.cases], THUMBNAILS), 0
    thumbnails: list[Thumbnail] = []
    with progress(len(survey.cases)) if progress else nullcontext(lambda: None) as advance:
        for case in survey.cases:
            clip = _load(case, layout, checks, problems)
            if clip is not None:
                found = list(clip_problems(case, clip, layout.labels))
                found += _answers(lambda case=case, clip=clip: checks.clip(case, clip), case)
                problems += found
                facts.append(clip_facts(case, clip))
                pixels.add(case, clip)
                if heart := ventricle(case, clip, layout.labels):
                    hearts[case.patient].append(heart)
                wrong = any(problem.severity == "error" for problem in found)
                if case.id in chosen or (wrong and kept < _OF_PROBLEMS):
                    kept += case.id not in chosen
                    thumbnails.append(thumbnail(case, clip))
            advance()
    problems += missing_structures(facts, layout.labels)
    for views in hearts.values():
        problems += far_from_masks(views)
    problems += pixels.problems()
    told = list(unique(p.under(root) for p in problems))
    bad = {problem.case for problem in told if problem.severity == "error"}
    leaks = sum(problem.leak for problem in told)
    summary = replace(summarise(facts, layout.labels), leaks=leaks, listed=len(survey.cases))
    return Report(root, name, told, summary, [replace(t, wrong=t.case.id in bad) for t in thumbnails])


def info(root: Path, layout: Layout) -> tuple[Summary, int]:
    """A data set's numbers from lists and headers, and how many of its clips could not be counted in.

    Pixels are read only where the layout knows no other way. Raises DataError when no clip is usable.
    """
    told: list[DataError] = []
    survey = layout.collect(root, told.append)
    facts: list[Facts] = []
    checks = layout.checks()
    for case in survey.cases:
        try:
            facts.append(checks.facts(case))
        except DataError as raised:
            told.append(raised)
    if not facts:
        raise told[0] if told else DataError("has no usable clip", file=root, remedy=f"see memx data check {root}")
    return summarise(facts, layout.labels), len(survey.skipped) + len(told)


def _survey(root: Path, layout: Layout, problems: list[Problem]) -> Survey:
    def tell(raised: DataError) -> None:
        problems.extend(from_error(raised))

    try:
        return layout.collect(root, tell)
    except DataError as raised:
        tell(raised)
    except OSError as raised:
        tell(_of_system(raised))
    return Survey([])


def _answers(ask: Callable[[], Iterator[Problem]], case: Case | None = None) -> list[Problem]:
    """What a layout's check says; where it cannot go on, what it said so far and why it stopped."""
    told: list[Problem] = []
    try:
        told.extend(ask())
    except DataError as raised:
        told += from_error(raised, case)
    except OSError as raised:
        told += from_error(_of_system(raised), case)
    return told


def _of_system(raised: OSError) -> DataError:
    """What the system says of a file that cannot be looked at."""
    file = Path(raised.filename) if isinstance(raised.filename, str) else None
    return DataError(raised.strerror or str(raised), file=file, remedy="make sure that it may be read, and is whole")


def _of_lists(root: Path, checks: LayoutChecks, survey: Survey) -> Iterator[Problem]:
    for skipped in survey.skipped:
        yield checks.left_out(skipped)
    yield from checks.data_set(root, survey)
    yield from patients_in_two_splits(survey.cases)
    if not survey.cases:
        yield error("data set", "has no usable clip", "see what is left out, or copy the data set again")
        return
    for split in SPLITS:
        if not any(case.split == split for case in survey.cases):
            say = warning if split == "test" else error  # memx train refuses a data set without the others
            what = f"no clip is in the split {split}"
            yield say("splits", what, "put some there, or write new splits: memx data split ROOT --force")


def _load(case: Case, layout: Layout, checks: LayoutChecks, problems: list[Problem]) -> Clip | None:
    """The clip, or None; then every part's problem, and the reader's own where no part has it."""
    try:
        clip = layout.load(case)
        for fault in clip_faults(clip, case.id) if not clip.video.numel() else ():
            raise fault
        return clip
    except DataError as raised:
        parts = _answers(lambda: checks.parts(case), case)
        blamed = [problem.where for problem in parts if problem.severity == "error"]
        problems += parts
        problems += [p for p in from_error(raised, case) if not any(where.startswith(p.where) for where in blamed)]
    except OSError as raised:
        problems += from_error(_of_system(raised), case)
    except Exception as raised:  # a layout that does not say what is wrong must not hide the other clips
        what = f"load raises {type(raised).__name__}: {raised}"
        problems.append(error(case.id, what, "mend the clip, and let load raise a DataError that says how", case))
    return None
