"""What every reader of NIfTI asks of a file: that it opens, that it is whole, and how large a pixel is."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Pair
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from memx.data.access import permitted
from memx.errors import DataError

_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
    zlib.error,
)
_MILLIMETRES = {"mm": 1.0, "meter": 1e3, "micron": 1e-3}
_MOST_DEFLATED = 1032  # gzip never packs tighter: a damaged header must not make us reserve memory for its claim


def open_nifti(path: Path) -> Any:
    """The file as a nibabel image whose pixels are still on disk.

    Raises DataError when it is missing, is no NIfTI file, or is too short for what its header promises.
    """
    try:
        with permitted(path), path.open("rb"):  # nibabel calls a file that may not be read a damaged one
            pass
        image: Any = nibabel.load(path, keep_file_open=True)  # pyright: ignore[reportPrivateImportUsage, reportCallIssue]
        if not isinstance(image, Nifti1Pair):
            raise ImageFileError(f"it holds a {type(image).__name__}")
        header = image.header
        shape, offset, dtype = header.get_data_shape(), int(header.get_data_offset()), header.get_data_dtype()
        header.get_xyzt_units()
    except FileNotFoundError:
        raise DataError("is missing", file=path, remedy="copy it again from its source") from None
    except KeyError as error:
        raise DataError(
            f"the NIfTI header is damaged: {error} is no unit of xyzt_units",
            file=path,
            remedy="copy it again from its source",
        ) from None
    except _UNREADABLE as error:
        raise DataError(
            f"not a readable NIfTI file ({error})", file=path, remedy="copy it again from its source"
        ) from None
    promised, there = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
    packed = path.name.lower().endswith(".gz")
    if promised > there * (_MOST_DEFLATED if packed else 1):
        raise DataError(
            f"the header promises {promised} bytes, the file has {there}{' packed' if packed else ''}",
            file=path,
            remedy="it is truncated or damaged, so copy it again from its source",
        )
    return image


def pixels(image: Any, path: Path, index: Any = ..., *, what: str = "the pixels") -> np.ndarray:
    """The pixels, or those at `index`, with NIfTI's axes. Raises DataError naming `what` cannot be read."""
    try:
        return np.asarray(image.dataobj[index])
    except _UNREADABLE as error:
        raise DataError(
            f"{what} cannot be read, the file is truncated or damaged ({error})",
            file=path,
            remedy="copy it again from its source",
        ) from None


def spacing(header: Any) -> tuple[tuple[float, float] | None, str]:
    """(y, x) millimetres a pixel, or None where the header does not know; and where that is from, or why it is None.

    A header without a unit is read as millimetres, which is what medical images are in and what CAMUS's files mean,
    unless it says exactly 1 × 1: that is what programs write who never asked for a size.
    """
    x, y = (float(zoom) for zoom in header.get_zooms()[:2])
    unit = str(header.get_xyzt_units()[0])
    if not all(math.isfinite(zoom) and zoom > 0 for zoom in (x, y)):
        return None, f"the NIfTI header's pixel size, {x:g} × {y:g}, is no length"
    if unit != "unknown":
        scale = _MILLIMETRES[unit]
        return (y * scale, x * scale), f"NIfTI header (pixdim, {unit})"
    if x == y == 1.0:
        return None, "the NIfTI header has no pixel size: 1 × 1 without a unit"
    return (y, x), "NIfTI header (pixdim), taken as millimetres since it names no unit"
