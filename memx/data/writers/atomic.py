"""Files and folders that stay open while a clip is read, and appear under their final name whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from memx.errors import UserError
from memx.files import atomic, cannot_write


class _AbortedError(Exception):
    """Tells `atomic` not to put the file in place."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a UserError that says what to do."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


class AtomicFile:
    """A file written beside its final name; `commit` gives it that name, `abort` removes it.

    `file` is the open binary file. Raises UserError when the folder cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self._place = atomic(path)
        self.file: BinaryIO = self._place.__enter__().open("w+b")

    def commit(self) -> None:
        """Close the file and give it its final name, over an older file of that name."""
        self.file.close()
        self._place.__exit__(None, None, None)

    def abort(self) -> None:
        """Remove what was written; a file of the final name stays as it was."""
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self.file.close()
        with suppress(_AbortedError):
            self._place.__exit__(_AbortedError, _AbortedError(), None)


class AtomicFolder:
    """A folder filled beside its final name; `commit` gives it that name, `abort` removes it.

    An older folder of that name is replaced when it holds nothing but files of the names that are written now.
    Raises UserError when it holds anything else, or cannot be written.
    """

    def __init__(self, path: Path, names: Iterable[str]):
        self.path = path
        self.partial = _beside(path, "part")
        if path.exists():
            allowed = set(names)
            strange = sorted({item.name for item in path.iterdir()} - allowed) if path.is_dir() else [path.name]
            if strange:
                raise UserError(f"{path}: already there and holds something else ({strange[0]}); choose another place")
        with writing(path):
            self.partial.mkdir(parents=True)

    def commit(self) -> None:
        """Give the folder its final name, in place of an older one, which is removed last."""
        if not self.path.exists():
            self.partial.replace(self.path)
            return
        older = _beside(self.path, "old")
        self.path.replace(older)
        try:
            self.partial.replace(self.path)
        except BaseException:
            older.replace(self.path)
            raise
        shutil.rmtree(older, ignore_errors=True)

    def abort(self) -> None:
        """Remove what was written; a folder of the final name stays as it was."""
        shutil.rmtree(self.partial, ignore_errors=True)


def _beside(path: Path, what: str) -> Path:
    """A hidden name in the same folder that nothing has."""
    return path.with_name(f".{what}-{uuid.uuid4().hex[:8]}-{path.name}")
