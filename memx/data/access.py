"""Asking about files and folders that one may not be allowed to read: the answer is a DataError by name."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memx.errors import DataError


def is_file(path: Path) -> bool:
    """Whether there is such a file. Raises DataError where a folder on the way may not be entered."""
    return stat.S_ISREG(_mode(path))


def is_dir(path: Path) -> bool:
    """Whether there is such a folder. Raises DataError where a folder on the way may not be entered."""
    return stat.S_ISDIR(_mode(path))


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name. Raises DataError where it may not be read."""
    with permitted(folder):
        return sorted(folder.iterdir())


def folder_to_read(root: Path) -> None:
    """Raises DataError unless `root` is a folder that may be read."""
    if not is_dir(root):
        is_one = is_file(root)
        what = "is a file" if is_one else "no such folder"
        raise DataError(what, file=root, remedy="name the data set's folder" if is_one else "")
    entries(root)


@contextmanager
def permitted(path: Path) -> Iterator[None]:
    """Turns a PermissionError at `path` into the DataError that names what may not be read."""
    try:
        yield
    except PermissionError:
        raise denied(path) from None


def denied(path: Path) -> DataError:
    """The error for a path that may not be read: it names the folder on the way that is closed, or the path itself."""
    closed = next((place for place in (path, *path.parents) if _is_seen(place)), path)
    what = "may not be entered or read" if closed != path or closed.is_dir() else "may not be read"
    return DataError(what, file=closed, remedy="have yourself given the right to read it, or leave it out")


def _mode(path: Path) -> int:
    """The kind and rights of what a path leads to; 0 where it leads nowhere."""
    with permitted(path):
        try:
            return path.stat().st_mode
        except PermissionError:
            raise
        except (OSError, ValueError):
            return 0


def _is_seen(place: Path) -> bool:
    try:
        place.stat()
    except OSError:
        return False
    return True
