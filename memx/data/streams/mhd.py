"""MetaImage clips (`.mhd` with its raw file, or `.mha`), read frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from memx.data.metaimage import MetaHeader, read_header
from memx.data.streams.base import Facts, Stream
from memx.data.streams.intensity import Intensity
from memx.errors import DataError


class MhdStream(Stream):
    """A MetaImage clip (x, y, t), (x, y, 1, t) or one frame (x, y). `header` is what its header says."""

    kind = "mhd"

    def __init__(self, path: Path, *, colour: bool = False):
        self.header = read_header(path)
        super().__init__(path, _facts(path, self.header), colour=colour)

    def declared_intensity(self) -> Intensity | None:
        return Intensity.of_bits(8) if self.header.dtype == np.uint8 else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        return self.header.frames()


def _facts(path: Path, header: MetaHeader) -> Facts:
    shape = header.shape
    if len(shape) == 4 and shape[2] != 1:
        raise DataError(f"this MetaImage is {shape}", file=path, remedy="a clip is (x, y, t) or (x, y, 1, t)")
    if header.values not in (1, 3):
        what = f"this MetaImage has {header.values} values a pixel"
        raise DataError(what, file=path, remedy="a clip has 1 (grey) or 3 (RGB)")
    spacing = None if header.spacing is None else (header.spacing[1], header.spacing[0])
    note = "MetaImage header (ElementSpacing)" if spacing else "the MetaImage header has no ElementSpacing"
    if spacing and min(spacing) <= 0:
        spacing, note = None, f"the MetaImage header's pixel size, {spacing[1]:g} × {spacing[0]:g}, is no length"
    return Facts(
        size=(shape[1], shape[0]),
        length=shape[-1] if len(shape) > 2 else 1,
        spacing=spacing,
        spacing_note=note,
        coloured=header.values == 3,
    )
