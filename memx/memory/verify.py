"""Hold a registered memory to the laws: cases and options are drawn, and a break is shrunk to the smallest."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import hypothesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import Flaky, Unsatisfiable

from memx.memory.drawing import Options, space_of
from memx.memory.laws import AT_LENGTH, BrokenLawError, Case, Law, NotApplicableError
from memx.registry import Entry

EXAMPLES = 25
"""Cases that are drawn for a law, beside the default options and every value of every option."""


@dataclass(frozen=True)
class Break:
    """The smallest case found in which a law does not hold."""

    options: Options
    """Those that are not at their default."""
    case: Case
    error: Exception
    """BrokenLawError, or what the memory's own code raised."""
    steady: bool = True
    """Whether the same case breaks each time."""

    @property
    def says(self) -> str:
        """The form and the figures, or the exception's message."""
        if isinstance(self.error, BrokenLawError):
            return self.error.says
        return f"{type(self.error).__name__}: {self.error}".strip().removesuffix(":")


@dataclass(frozen=True)
class Verdict:
    """What became of one law."""

    law: Law
    outcome: Literal["kept", "broken", "not applicable"]
    cases: int = 0
    """In which the law was held and kept."""
    frames: int = 0
    """Of the longest case in which it was kept."""
    tokens: int = 0
    """Of the largest frame in which it was kept."""
    reason: str = ""
    """Why it is not applicable."""
    broken: Break | None = None

    @property
    def name(self) -> str:
        return self.law.__name__

    @property
    def states(self) -> str:
        """The law in a sentence."""
        return (self.law.__doc__ or "").strip().split("\n", 1)[0]


def verify(
    entry: Entry,
    law: Law,
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    heard: Callable[[int], None] = lambda cases: None,
) -> Verdict:
    """Hold a memory to one law with its defaults, with every value of every option, and with `examples` drawn cases.

    Laws about forms (`laws.AT_LENGTH`) are then held in a long clip and in large frames, with the same options.
    The same seed draws the same cases. `heard` is told the number of each case before it is held.
    Raises RecipeError for a memory that takes none of the sizes that are tried.
    """
    space, trial = space_of(entry), _Trial(entry, law, heard)
    first = next(
        (found for options in (space.base, *space.corners) if (found := trial.attempt(options, space.usual))), None
    )
    draws = settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    stream = zlib.crc32(f"{seed} {law.__name__}".encode())
    found = _smallest(trial, space.options(), draws, stream)
    if first and not found:
        found = _smallest(trial, st.just(first.options), draws, stream)
        found = found or replace(first, steady=trial.attempt(first.options, first.case) is not None)
    if not found and law in AT_LENGTH:
        found = _at_length(trial)
    kept = Verdict(law, "kept", trial.kept, trial.frames, trial.tokens)
    if found:
        broken = replace(found, options=space.changed(found.options))
        return replace(kept, outcome="broken", broken=broken)
    if not trial.kept:
        return Verdict(law, "not applicable", reason=trial.reason)
    return kept


class _Trial:
    """Holds one memory to one law, case after case, and remembers the last break."""

    def __init__(self, entry: Entry, law: Law, heard: Callable[[int], object]):
        self.space, self.law, self.heard = space_of(entry), law, heard
        self.held = self.kept = 0
        self.frames = self.tokens = 0
        """Of the largest cases in which the law was kept."""
        self.reason = ""
        """Why the law was not applicable for the first time."""
        self.found: Break | None = None

    def hold(self, options: Options, case: Case) -> bool:
        """Whether the law says something about the case. Raises what the law, or the memory's own code, raises."""
        self.held += 1
        self.heard(self.held)
        try:
            self.law(self.space.part(options), case)
        except NotApplicableError as reason:
            self.reason = self.reason or str(reason)
            return False
        except Exception as error:
            self.found = Break(options, case, error)
            raise
        self.kept += 1
        self.frames, self.tokens = max(self.frames, case.frames), max(self.tokens, case.tokens)
        return True

    def attempt(self, options: Options, case: Case) -> Break | None:
        """The break of this one case, if it is one."""
        try:
            self.hold(options, case)
        except Exception:
            return self.found
        return None


def _smallest(trial: _Trial, options: st.SearchStrategy[Options], draws: settings, stream: int) -> Break | None:
    """The break that Hypothesis finds and shrinks: the last one that it replays is the smallest."""
    applies, trial.found = trial.kept > 0, None

    @hypothesis.seed(stream)
    @draws
    @given(options, trial.space.cases())
    def draw(chosen: Options, case: Case) -> None:
        assume(trial.space.fits(chosen, case))
        says_something = trial.hold(chosen, case)
        assume(says_something or not applies)

    try:
        with _nothing_left_behind():
            draw()
    except Unsatisfiable:  # no drawn case fits, or none is one that the law speaks of
        return None
    except Flaky:
        return trial.found and replace(trial.found, steady=False)
    except Exception:
        if trial.found is None:
            raise
    return trial.found


def _at_length(trial: _Trial) -> Break | None:
    """The break in a large case, made as small as it can be one size at a time."""
    for options in (trial.space.base, *trial.space.corners):
        for case in trial.space.large:
            if trial.space.fits(options, case) and (found := trial.attempt(options, case)):
                return _made_smaller(trial, found)
    return None


def _made_smaller(trial: _Trial, found: Break) -> Break:
    smaller = True
    while smaller:
        smaller = False
        for case in _smaller(found.case):
            if again := trial.attempt(found.options, case):
                found, smaller = again, True
                break
    return replace(found, steady=trial.attempt(found.options, found.case) is not None)


def _smaller(case: Case) -> Iterator[Case]:
    """Cases with one thing taken away, the most first."""
    if case.resets:
        yield replace(case, resets=False)
    if case.warm:
        yield replace(case, warm=False)
    for name in ("batch", "frames", "tokens", "split"):
        size = getattr(case, name)
        less = size // 2
        while less:
            yield replace(case, **{name: size - less})
            less //= 2


@contextmanager
def _nothing_left_behind() -> Iterator[None]:
    """Hypothesis keeps notes in `.hypothesis` of the working directory: here they go with the run."""
    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)
