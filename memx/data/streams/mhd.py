"""MetaImage clips (`.mhd` with its raw file, or `.mha`), read frame by frame through SimpleITK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from memx.data.streams.base import Facts, Stream
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

_HEADER_BYTES = 1 << 16


class MhdStream(Stream):
    """A MetaImage clip (x, y, t), (x, y, 1, t) or one frame (x, y).

    Uncompressed data are read one frame at a time; compressed data can only be read whole, and `notes` says so.
    """

    kind = "mhd"

    def __init__(self, path: Path, *, colour: bool = False):
        self.reader = _reader(path)
        self.compressed = meta_fields(path).get("compresseddata", "false").lower() == "true"
        super().__init__(path, _facts(path, self.reader, compressed=self.compressed), colour=colour)

    def declared_intensity(self) -> Intensity | None:
        eight_bit = self.reader.GetPixelID() in (sitk.sitkUInt8, sitk.sitkVectorUInt8)
        return Intensity.of_bits(8) if eight_bit else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        if self.compressed:
            whole = _execute(self.path, sitk.ImageFileReader(), "the compressed data")
            yield from whole.reshape(-1, *self.size, *whole.shape[self.reader.GetDimension() :])
            return
        reader = _reader(self.path)
        shape = reader.GetSize()
        for index in range(self.facts.length or 0):
            if len(shape) > 2:
                reader.SetExtractIndex([0] * (len(shape) - 1) + [index])
                reader.SetExtractSize([shape[0], shape[1], *[1] * (len(shape) - 3), 0])
            frame = _execute(self.path, reader, f"frame {index} of {self.length}")
            yield frame.reshape(*self.size, *frame.shape[max(len(shape) - 1, 2) :])


def meta_fields(path: Path) -> dict[str, str]:
    """The `Key = value` lines of a MetaImage header, keys in lower case."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    for line in head.split(b"\n"):
        key, separator, value = line.partition(b"=")
        if not separator:
            continue
        fields[key.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        if key.strip().lower() == b"elementdatafile":
            break
    return fields


def _reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"{path}: not a readable MetaImage header ({_last_line(error)})") from None
    return reader


def _execute(path: Path, reader: sitk.ImageFileReader, what: str) -> np.ndarray:
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        return sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise DataError(
            f"{path}: {what} cannot be read; the raw data ({meta_fields(path).get('elementdatafile', 'LOCAL')}) are "
            f"missing, truncated or damaged ({_last_line(error)})"
        ) from None


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _facts(path: Path, reader: sitk.ImageFileReader, *, compressed: bool) -> Facts:
    shape = reader.GetSize()
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[2] != 1) or 0 in shape:
        raise DataError(f"{path}: a clip is (x, y, t) or (x, y, 1, t), this MetaImage is {tuple(shape)}")
    components = reader.GetNumberOfComponents()
    if components not in (1, 3):
        raise DataError(f"{path}: a clip has 1 (grey) or 3 (RGB) values a pixel, this MetaImage has {components}")
    fields = meta_fields(path)
    calibrated = "elementspacing" in fields or "elementsize" in fields
    return Facts(
        size=(shape[1], shape[0]),
        length=shape[-1] if len(shape) > 2 else 1,
        spacing=(reader.GetSpacing()[1], reader.GetSpacing()[0]) if calibrated else None,
        spacing_note="MetaImage header (ElementSpacing)"
        if calibrated
        else "the MetaImage header has no ElementSpacing",
        coloured=components == 3,
        notes=("compressed MetaImage: loaded whole instead of frame by frame",) if compressed else (),
    )
