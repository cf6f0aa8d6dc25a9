"""Files and folders that appear under their final name whole, or not at all."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from memx.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a UserError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"disk full while writing {path}: free some space or choose another place, then run again"
            ) from None
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


class AtomicFile:
    """A file written beside its final name; `commit` gives it that name, `abort` removes it.

    `file` is the open binary file. Raises UserError when the folder cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self.partial = _partial(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file: BinaryIO = self.partial.open("w+b")

    def commit(self) -> None:
        """Close the file and give it its final name, over an older file of that name."""
        self.file.close()
        self.partial.replace(self.path)

    def abort(self) -> None:
        """Remove what was written; a file of the final name stays as it was."""
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self.file.close()
        self.partial.unlink(missing_ok=True)


class AtomicFolder:
    """A folder filled beside its final name; `commit` gives it that name, `abort` removes it.

    An older folder of that name is replaced when it holds nothing but files of the names that are written now.
    Raises UserError when it holds anything else, or cannot be written.
    """

    def __init__(self, path: Path, names: Iterable[str]):
        self.path = path
        self.partial = _partial(path)
        if path.exists():
            strange = sorted({item.name for item in path.iterdir()} - set(names)) if path.is_dir() else [path.name]
            if strange:
                raise UserError(
                    f"{path}: already there and not from an earlier run (it has {strange[0]}); choose another place"
                )
        with writing(path):
            self.partial.mkdir(parents=True)

    def commit(self) -> None:
        """Give the folder its final name, in place of an older one."""
        if self.path.exists():
            shutil.rmtree(self.path)
        self.partial.replace(self.path)

    def abort(self) -> None:
        """Remove what was written; a folder of the final name stays as it was."""
        shutil.rmtree(self.partial, ignore_errors=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
