"""MetaImage: the header, checked before a byte of the pixels is read, and the frames one at a time.

Reading is done here rather than by ITK, whose parser crashes the process on some damaged headers.
Source: the MetaIO documentation of Kitware, https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from memx.data.access import denied, is_file, permitted
from memx.errors import DataError

_HEADER_BYTES = 1 << 16
_BLOCK = 1 << 16
_MOST_DEFLATED = 1032  # zlib never packs tighter: a damaged header must not make us reserve memory for its claim
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


@dataclass(frozen=True)
class MetaHeader:
    """What a MetaImage header says.

    path        the header's file; the pixels are in `pixels`, from byte `offset` on
    shape       DimSize: x first
    dtype       type of a value with its byte order
    values      values a pixel
    compressed  whether the pixels are one zlib stream
    spacing     a number for each axis, or None where the header has none
    origin, direction   verbatim: one number an axis, and a matrix row by row; None where the header has none
    """

    path: Path
    pixels: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    values: int
    compressed: bool
    spacing: tuple[float, ...] | None
    origin: tuple[float, ...] | None
    direction: tuple[float, ...] | None

    def frames(self) -> Iterator[np.ndarray]:
        """The slices of the last axes, (y, x) or (y, x, values), one at a time, from the first two axes.

        Raises DataError naming the frame that cannot be read.
        """
        x, y = self.shape[:2]
        count = math.prod(self.shape[2:])
        size = x * y * self.values * self.dtype.itemsize
        shape = (y, x) if self.values == 1 else (y, x, self.values)
        try:
            with self.pixels.open("rb") as file:
                file.seek(self.offset)
                blocks = _inflated(file, size) if self.compressed else iter(lambda: file.read(size), b"")
                for index in range(count):
                    block = next(blocks, b"")
                    if len(block) != size:
                        raise DataError(
                            f"frame {index} of {count} cannot be read, the raw data ({self.pixels.name}) are truncated "
                            "or damaged",
                            file=self.path,
                            remedy="copy them again",
                        )
                    yield np.frombuffer(block, self.dtype).reshape(shape).astype(self.dtype.newbyteorder("="))
        except PermissionError:
            raise denied(self.pixels) from None
        except (OSError, zlib.error) as error:
            raise DataError(
                f"the raw data ({self.pixels.name}) cannot be read ({error})", file=self.path, remedy="copy them again"
            ) from None


def read_header(path: Path) -> MetaHeader:
    """Read and check a header.

    Raises DataError when the file is no MetaImage header, the file of its pixels is missing or shorter than the header
    promises, or lies in another folder.
    """
    fields, end = _fields(path)
    name = fields.get("elementdatafile")
    if name is None or "dimsize" not in fields or "elementtype" not in fields:
        raise DataError(
            "not a readable MetaImage header (no DimSize, ElementType or ElementDataFile)",
            file=path,
            remedy="copy it again from its source",
        )
    shape = _whole(path, fields, "dimsize")
    if not 2 <= len(shape) <= 4 or min(shape) < 1 or _whole(path, fields, "ndims", str(len(shape))) != (len(shape),):
        raise DataError(
            f"this MetaImage has NDims {fields.get('ndims')} and DimSize {fields['dimsize']}",
            file=path,
            remedy="a clip is (x, y, t) or (x, y, 1, t)",
        )
    kind = fields["elementtype"].upper()
    if kind not in _TYPES:
        raise DataError(
            f"ElementType is {fields['elementtype']!r}", file=path, remedy=f"want one of {', '.join(_TYPES)}"
        )
    if not _true(fields, "binarydata", "true"):
        raise DataError("the pixels are text (BinaryData = False)", file=path, remedy="write the file again as binary")
    if not name or Path(name).name != name or name.split(" ")[0] == "LIST" or "%" in name or "\0" in name:
        raise DataError(f"ElementDataFile is {name!r}", file=path, remedy="want LOCAL, or one file in the same folder")
    pixels = path if name == "LOCAL" else path.with_name(name)
    if not is_file(pixels):
        raise DataError(f"the raw data ({name}) are missing", file=path, remedy="copy them from the header's source")
    most = _true(fields, "binarydatabyteordermsb") or _true(fields, "elementbyteordermsb")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if most else "<")
    (values,) = _whole(path, fields, "elementnumberofchannels", "1")[:1]
    there = pixels.stat().st_size
    promised = math.prod(shape) * values * dtype.itemsize
    (skipped,) = _whole(path, fields, "headersize", "0")[:1]
    offset = end if name == "LOCAL" else there - promised if skipped == -1 else skipped
    compressed = _true(fields, "compresseddata")
    room = (there - offset) * (_MOST_DEFLATED if compressed else 1)
    if values < 1 or not 0 <= offset <= there or promised > room:
        raise DataError(
            f"the header promises {promised} bytes, {pixels.name} has {there - max(0, offset)}"
            f"{' packed' if compressed else ''}",
            file=path,
            remedy="it is truncated or damaged, so copy it again from its source",
        )
    axes = len(shape)
    return MetaHeader(
        path=path,
        pixels=pixels,
        offset=offset,
        shape=shape,
        dtype=dtype,
        values=values,
        compressed=compressed,
        spacing=_numbers(path, fields, ("elementspacing", "elementsize"), axes),
        origin=_numbers(path, fields, ("offset", "position", "origin"), axes),
        direction=_numbers(path, fields, ("transformmatrix", "rotation", "orientation"), axes * axes),
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The `Key = value` lines, keys in lower case, and the byte after them; ElementDataFile is the last."""
    with permitted(path), path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    end = 0
    for line in head.split(b"\n"):
        end += len(line) + 1
        key, separator, value = line.partition(b"=")
        if not separator:
            continue
        fields[key.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        if key.strip().lower() == b"elementdatafile":
            break
    return fields, end


def _inflated(file: BinaryIO, size: int) -> Iterator[bytes]:
    """A zlib stream in pieces of `size` bytes; the last one may be shorter. Never holds more than a piece."""
    unpack = zlib.decompressobj()
    waiting = b""
    piece = bytearray()
    while not unpack.eof:
        waiting = waiting or file.read(_BLOCK)
        if not waiting:
            break
        piece += unpack.decompress(waiting, size - len(piece))
        waiting = unpack.unconsumed_tail
        if len(piece) == size:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _true(fields: dict[str, str], key: str, default: str = "false") -> bool:
    return fields.get(key, default).lower() in ("true", "t", "1", "yes")


def _whole(path: Path, fields: dict[str, str], key: str, default: str = "") -> tuple[int, ...]:
    words = fields.get(key, default).split()
    if not words or not all(word.lstrip("+-").isascii() and word.lstrip("+-").isdecimal() for word in words):
        raise DataError(
            f"the MetaImage header is damaged ({key} is {fields.get(key)!r})", file=path, remedy="copy it again"
        )
    return tuple(int(word) for word in words)


def _numbers(path: Path, fields: dict[str, str], keys: tuple[str, ...], count: int) -> tuple[float, ...] | None:
    """The numbers of the first key that is there; finite, and as many as there are axes."""
    key = next((key for key in keys if key in fields), None)
    if key is None:
        return None
    try:
        numbers = tuple(float(word) for word in fields[key].split())
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise DataError(f"{key} is {fields[key]!r} in the MetaImage header", file=path, remedy=f"want {count} numbers")
    return numbers
