"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memx.errors import UserError

PART = ".part-"


@contextmanager
def atomic(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and puts it in place when the block ends well.

    On any exception the temporary file is removed and what stood at `path` stays. A process that is killed leaves the
    temporary file (`remove_parts`). A file that is `durable` is on the disk before it takes its name, and its name is
    when the block has ended, so that a power cut leaves the old file or the new one, too. A full disk or a folder that
    may not be written raises UserError.
    """
    path = Path(path)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last, since writers choose the format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PART, suffix="".join(path.suffixes[-2:]))
        os.close(handle)
        part = Path(name)
        yield part
        part.chmod(0o666 & ~_umask())
        if durable:
            _sync(part, os.O_RDWR)
        os.replace(part, path)
        if durable and os.name == "posix":  # elsewhere folders cannot be opened
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text whole or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left in a folder that nobody else writes to."""
    for part in folder.glob(f"{PART}*"):
        part.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The message for a write that failed: what, where, what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; free some space or choose another place. Nothing was half written")
    if error.errno == errno.EFBIG:
        return UserError(
            f"{path}: is larger than a file may be here (`ulimit -f`, or the file system's limit). "
            "Nothing was half written"
        )
    return UserError(f"{path}: cannot be written: {error.strerror or error}. Nothing was half written")


def _sync(path: Path, mode: int) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
