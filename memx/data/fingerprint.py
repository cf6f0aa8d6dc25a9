"""What identifies a data set in a run's manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

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


def file_digest(file: Path, *, changed: int | None = None) -> str:
    """The SHA-256 of a file's size and content: of texts and files up to 128 KiB the whole, of others both ends.

    changed   its time of change, which counts as well where only the ends do

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
                content.update(b"" if changed is None else str(changed).encode())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}); copy it again") from error
    return content.hexdigest()
