"""What identifies a data set in a run's manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from memx.data.access import denied
from memx.data.clip import Case, Layout
from memx.errors import DataError

_END = 65536
_TEXT = (".csv", ".cfg", ".txt", ".json")


def fingerprint(layout: Layout, cases: Sequence[Case]) -> str:
    """The SHA-256 of a data set's cases, in hexadecimal: the same wherever the data lie and whenever they were copied.

    It covers the layout's class, every case's id, patient, view and split, and of every file the name, the size, and
    the content: of texts and of files up to 128 KiB the whole, of others the first and last 64 KiB (the end of a gzip
    file is its checksum). A folder counts as the files in it. The order of `cases` does not matter.
    Raises DataError for a file that cannot be read.
    """
    digests: dict[Path, str] = {}
    lines = []
    for case in cases:
        for role, path in sorted(case.files.items()):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if not file.is_dir():
                    digests[file] = digests.get(file) or file_digest(file)
                    name = file.relative_to(path.parent).as_posix()
                    lines.append("\0".join([case.id, case.patient, case.view, case.split, role, name, digests[file]]))
    text = "\n".join([type(layout).__name__, *sorted(lines)])
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(file: Path) -> str:
    """The SHA-256 of a file's size and content: of texts and files up to 128 KiB the whole, of others both ends.

    Raises DataError for a file that cannot be read.
    """
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            content = hashlib.sha256(str(size).encode() + b"\0")
            if file.suffix.lower() in _TEXT or size <= 2 * _END:
                while block := stream.read(1 << 20):
                    content.update(block)
            else:
                content.update(stream.read(_END))
                stream.seek(-_END, 2)
                content.update(stream.read(_END))
    except OSError as error:
        raise _unreadable(file, error) from error
    return content.hexdigest()


def content_digest(file: Path) -> str:
    """The SHA-256 of all that a file holds, once a process and state of the file.

    Its state is what the file system says of it: place, size, and the times of change of content and of entry, the
    second of which no program can set. Raises DataError for a file that cannot be read.
    """
    try:
        state = file.stat()
        key = (file, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if key not in _digests:
            with file.open("rb") as stream:
                _digests[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error
    return _digests[key]


_digests: dict[tuple[Path, int, int, int, int], str] = {}


def _unreadable(file: Path, error: OSError) -> DataError:
    if isinstance(error, PermissionError):
        return denied(file)
    return DataError(f"cannot be read ({error})", file=file, remedy="copy it again")
