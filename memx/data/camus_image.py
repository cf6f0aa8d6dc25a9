"""CAMUS's pictures and masks as arrays (t, y, x) or (y, x) with their spacing, from NIfTI or MetaImage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from memx.data.nifti import open_nifti, pixels, spacing
from memx.data.pixels import check_fits, label_values, same_size, unit_pixels
from memx.data.streams.mhd import MhdStream
from memx.errors import DataError


@dataclass(frozen=True)
class Image:
    """(t, y, x) or (y, x) pixels and their (y, x) spacing in mm, or None where the header does not know."""

    pixels: np.ndarray
    spacing: tuple[float, float] | None

    def words(self) -> str:
        """Size and spacing, for a message."""
        y, x = self.pixels.shape[-2:]
        each = f"{self.spacing[0]:.4g} × {self.spacing[1]:.4g} mm" if self.spacing else "unknown size"
        return f"{y} × {x} pixels of {each} (y × x)"

    def alike(self, other: Image) -> bool:
        """Whether both have one shape, and one spacing to 0.1%."""
        if self.pixels.shape != other.pixels.shape:
            return False
        if self.spacing is None or other.spacing is None:
            return self.spacing == other.spacing
        return np.allclose(self.spacing, other.spacing, rtol=1e-3)


def read_picture(file: Path, axes: Literal[2, 3]) -> Image:
    """A sequence (3 axes) or a still frame (2), its pixels float32 in [0, 1].

    Raises DataError for a file that cannot be read, has other axes, or pixels that are not 0..255.
    """
    raw = read_stored(file, axes)
    return Image(unit_pixels(raw.pixels, file), raw.spacing)


def read_mask(file: Path, of: Path, shape: tuple[int, ...], values: frozenset[int]) -> np.ndarray:
    """The mask of picture `of` as uint8 of `shape`, each label one of `values`. Raises DataError where it is not."""
    raw = read_stored(file, 3 if len(shape) == 3 else 2)
    same_size(shape, raw.pixels.shape, of, file)
    return label_values(raw.pixels, file, values)


def read_stored(file: Path, axes: Literal[2, 3]) -> Image:
    """The numbers of a file as they are stored, (t, y, x) or (y, x). Raises DataError for one that cannot be read."""
    return (_read_mhd if file.suffix.lower() == ".mhd" else _read_nifti)(file, axes)


def read_spacing(file: Path) -> tuple[float, float] | None:
    """(y, x) millimetres a pixel by a file's header, or None where it does not know."""
    if file.suffix.lower() == ".mhd":
        return MhdStream(file).spacing
    return spacing(open_nifti(file).header)[0]


def _read_nifti(file: Path, axes: Literal[2, 3]) -> Image:
    """NIfTI keeps (x, y) or (x, y, t); the axes are turned round to (y, x) or (t, y, x)."""
    image = open_nifti(file)
    x, y, *frames = (*image.shape, 1, 1)[: max(2, image.ndim)]
    check_fits(file, math.prod(frames), 1, (y, x))
    array = pixels(image, file)
    if array.ndim > axes:
        array = array.reshape(*array.shape[:2], *(n for n in array.shape[2:] if n > 1))
    if array.ndim < axes and axes == 3:
        array = array[..., None]
    if array.ndim != axes:
        wanted = "(x, y, t)" if axes == 3 else "(x, y)"
        raise DataError(f"has axes of {array.shape}", file=file, remedy=f"want {wanted}")
    return Image(array.transpose(), spacing(image.header)[0])


def _read_mhd(file: Path, axes: Literal[2, 3]) -> Image:
    """SimpleITK gives MetaImage as (t, y, x); a still frame is a sequence of one."""
    stream = MhdStream(file)
    if stream.facts.coloured:
        raise DataError("has colour pixels", file=file, remedy="want grey values or labels")
    check_fits(file, stream.length or 1, 1, stream.size)
    frames = np.stack(list(stream.stored_frames()))
    if axes == 2 and len(frames) != 1:
        raise DataError(f"has {len(frames)} frames", file=file, remedy="want one")
    return Image(frames if axes == 3 else frames[0], stream.spacing)
