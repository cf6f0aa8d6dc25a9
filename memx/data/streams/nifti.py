"""NIfTI clips: (x, y, t), as CAMUS stores them, (x, y, 1, t), or one frame (x, y)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from memx.data.streams.base import Facts, Stream
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)
_MOST_DEFLATED = 1032  # gzip never packs tighter


class NiftiStream(Stream):
    """A `.nii` or `.nii.gz` clip, read slice by slice from disk."""

    kind = "nifti"

    def __init__(self, path: Path, *, colour: bool = False):
        self.header: Any = _load(path).header
        super().__init__(path, _facts(path, self.header), colour=colour)

    def declared_intensity(self) -> Intensity | None:
        dtype = self.header.get_data_dtype()
        scaled = self.header.get_slope_inter() not in ((None, None), (1.0, 0.0))
        eight_bit = dtype == np.uint8 or dtype.fields is not None
        return Intensity.of_bits(8) if eight_bit and not scaled else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        image = _load(self.path)
        for index in range(self.facts.length or 0):
            try:
                frame = np.asarray(image.dataobj[_frame_index(image.shape, index)])
            except _UNREADABLE as error:
                raise DataError(
                    f"{self.path}: frame {index} of {self.length} cannot be read, the file is truncated or damaged; "
                    f"copy it again from its source ({error})"
                ) from None
            if frame.dtype.fields is not None:
                frame = np.stack([frame[channel] for channel in ("R", "G", "B")], axis=-1)
            yield frame.swapaxes(0, 1)


def _load(path: Path) -> Any:
    try:
        return nibabel.load(path, keep_file_open=True)  # pyright: ignore[reportPrivateImportUsage, reportCallIssue]
    except _UNREADABLE as error:
        raise DataError(f"{path}: not a readable NIfTI file ({error})") from None


def _frame_index(shape: tuple[int, ...], index: int) -> tuple[Any, ...]:
    everything = slice(None)
    if len(shape) == 2:
        return (everything, everything)
    return (everything, everything, 0, index) if len(shape) == 4 else (everything, everything, index)


def _facts(path: Path, header: Any) -> Facts:
    shape = header.get_data_shape()
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[2] != 1) or 0 in shape:
        raise DataError(f"{path}: a clip is (x, y, t) or (x, y, 1, t), this NIfTI file is {tuple(shape)}")
    _check_size(path, int(header.get_data_offset()) + math.prod(shape) * header.get_data_dtype().itemsize)
    zooms = [float(zoom) for zoom in header.get_zooms()]
    try:
        space_unit, time_unit = header.get_xyzt_units()
    except KeyError as error:
        raise DataError(f"{path}: the NIfTI header is damaged: xyzt_units {error} is no unit") from None
    spacing, note = _spacing(zooms, space_unit)
    seconds = zooms[3] * _SECONDS.get(time_unit, 0.0) if len(shape) == 4 else 0.0
    return Facts(
        size=(int(shape[1]), int(shape[0])),
        length=int(shape[-1]) if len(shape) > 2 else 1,
        fps=1.0 / seconds if seconds > 0 else None,
        spacing=spacing,
        spacing_note=note,
        coloured=header.get_data_dtype().fields is not None,
    )


def _check_size(path: Path, promised: int) -> None:
    """Refuse a header that claims more data than the file can hold, before memory is reserved for the claim."""
    there = path.stat().st_size
    packed = path.name.lower().endswith(".gz")
    if promised > there * (_MOST_DEFLATED if packed else 1):
        raise DataError(
            f"{path}: the header promises {promised} bytes, the file has {there}{' packed' if packed else ''}; it is "
            "truncated or damaged, so copy it again from its source"
        )


def _spacing(zooms: list[float], unit: str) -> tuple[tuple[float, float] | None, str]:
    x, y = zooms[:2]
    if x <= 0 or y <= 0:
        return None, f"the NIfTI header's pixel size, {x:g} × {y:g}, is no length"
    if unit == "unknown":
        if x == y == 1.0:
            return None, "the NIfTI header has no pixel size: 1 × 1 without a unit"
        return (y, x), "NIfTI header (pixdim), taken as millimetres since it names no unit"
    scale = _MILLIMETRES[unit]
    return (y * scale, x * scale), f"NIfTI header (pixdim, {unit})"
