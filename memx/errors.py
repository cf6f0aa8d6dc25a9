"""Errors that are the user's to mend. The command line prints them without a traceback and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something that the user gave is wrong, or is not there.

    A message says what is wrong, where (file, dotted path, tensor), and the nearest right answer. `status` is the exit
    status of the command that it ends.
    """

    status = 2


class InterruptedRunError(UserError):
    """The user, or the machine's scheduler, stopped a run; its message says what is kept and how to go on.

    `status` is 128 + the number of the signal: 130 for Ctrl-C.
    """

    def __init__(self, message: str, *, status: int = 130):
        super().__init__(message)
        self.status = status


class DivergedError(UserError):
    """Training left the finite numbers."""


class RecipeError(UserError):
    """A recipe, an override or a component's options are wrong."""


class DataError(UserError):
    """A data set, clip or mask is missing, unreadable or inconsistent.

    Its message is `FILE, PLACE: what; remedy`, of what is given of these:

    what    what is wrong; a whole message where no file is given
    file    the file or folder that it is wrong with, or None
    place   where in the file, such as `line 3`
    remedy  what to do about it
    """

    def __init__(self, what: str, *, file: Path | None = None, place: str = "", remedy: str = ""):
        where = ", ".join(filter(None, (str(file) if file is not None else "", place)))
        said = "; ".join(filter(None, (what, remedy)))
        super().__init__(f"{where}: {said}" if where else said)
        self.what = what
        self.file = file
        self.place = place
        self.remedy = remedy


class CheckpointError(UserError):
    """A checkpoint is missing, unreadable, or belongs to another recipe."""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type's name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None."""
    spelt = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(str(word).casefold(), list(spelt), n=1, cutoff=0.6)
    return spelt[matches[0]] if matches else None


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """`unknown memory 'gated_dleta'; did you mean 'gated_delta'? There are: …`."""
    known = sorted(known)
    guess = nearest(word, known)
    hint = f"; did you mean {guess!r}?" if guess else "."
    return f"unknown {what} {word!r}{hint} There are: {', '.join(known) or 'none'}"
