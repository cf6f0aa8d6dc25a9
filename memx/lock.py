"""Folders that one process at a time works in."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memx.errors import UserError
from memx.files import cannot_write

if sys.platform != "win32":
    import fcntl

NAME = ".lock"

log = logging.getLogger(__name__)

_held: set[int] = set()


@contextmanager
def held(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder, which is made where there is none, for this process.

    The kernel releases it however the process ends; those that it forks do not hold it. The file `.lock` says who
    holds it and is removed at the end; one that a killed process has left means nothing. Raises UserError where another
    process holds the folder (`doing`: what that one is doing, such as "trains this run"). Where a file system or the
    platform has no locks, a warning says so and the folder is not held.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _open(path, doing)
    except OSError as error:
        raise cannot_write(path, error) from None
    _held.add(handle)
    try:
        yield
    finally:
        _held.discard(handle)
        with suppress(OSError):  # the folder may be gone, or the disk; the kernel releases the lock in any case
            path.unlink()
        os.close(handle)


def _open(path: Path, doing: str) -> int:
    """The lock file, open and locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, path)
            if _is(handle, path):  # else the one that held it has just removed it
                os.ftruncate(handle, 0)
                os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
                return handle
        except BlockingIOError:
            holder = _holder(handle)
            os.close(handle)
            raise UserError(
                f"{path.parent}: {holder} {doing}; wait for it to end, or stop it. Two at once would spoil it"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    if sys.platform == "win32":
        log.warning("%s: this platform has no file locks; see to it that no two processes work here", path.parent)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        reason = error.strerror or error
        log.warning("%s: cannot be locked (%s); see to it that no two processes work here", path.parent, reason)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    try:
        said = json.loads(os.pread(handle, 4096, 0))
        return f"process {said['process']} on {said['host']}"
    except (ValueError, KeyError, TypeError):  # it has only just begun
        return "another process"


def _let_go() -> None:
    """A forked process closes its copies, so that what it is forked from holds the folder alone."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
