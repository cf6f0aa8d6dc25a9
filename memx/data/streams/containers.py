"""How long a video file says that it is: AVI and Matroska headers give their size, so a cut file is known at once."""

from __future__ import annotations

from pathlib import Path

from memx.data.access import permitted
from memx.errors import DataError

_HEAD = 256
_RIFF_UNKNOWN = (0, 0xFFFFFFFF)
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def check_whole(path: Path) -> None:
    """Raise DataError when an AVI or Matroska file is shorter than its own header says, or any may not be read."""
    with permitted(path), path.open("rb") as file:
        head = file.read(_HEAD)
    promised = _riff_end(head) or _matroska_end(head)
    there = path.stat().st_size
    if promised is not None and there < promised:
        raise DataError(
            f"the file is truncated: its header promises {promised} bytes, there are {there}",
            file=path,
            remedy="copy it again from its source",
        )


def _riff_end(head: bytes) -> int | None:
    """Where the first RIFF chunk of an AVI file ends; None for another file, or one that was written to a pipe."""
    if head[:4] != b"RIFF" or head[8:12] != b"AVI ":
        return None
    size = int.from_bytes(head[4:8], "little")
    return None if size in _RIFF_UNKNOWN else size + 8


def _matroska_end(head: bytes) -> int | None:
    """Where the Segment of a Matroska file ends; None for another file, or one of unknown size. Source: RFC 8794."""
    if head[:4] != _EBML:
        return None
    size, start = _variable_integer(head, 4)
    segment = start + (size or 0)
    if head[segment : segment + 4] != _SEGMENT:
        return None
    size, start = _variable_integer(head, segment + 4)
    return None if size is None else start + size


def _variable_integer(head: bytes, at: int) -> tuple[int | None, int]:
    """An EBML size and where it ends; all value bits set means unknown."""
    if at >= len(head) or head[at] == 0:
        return None, at
    length = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length
