"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memx.errors import UserError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and puts it in place when the block ends well.

    On any exception the temporary file is removed and what stood at `path` stays. A full disk or a folder that may not
    be written raises UserError.
    """
    path = Path(path)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last, since writers choose the format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix="".join(path.suffixes[-2:]))
        os.close(handle)
        part = Path(name)
        yield part
        part.chmod(0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text whole or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def cannot_write(path: Path, error: OSError) -> UserError:
    """The message for a write that failed: what, where, what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{path}: the disk is full; free some space or choose another place. Nothing was half written")
    return UserError(f"{path}: cannot be written: {error.strerror or error}. Nothing was half written")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
