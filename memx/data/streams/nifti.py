"""NIfTI clips: (x, y, t), as CAMUS stores them, (x, y, 1, t), or one frame (x, y)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from memx.data.nifti import open_nifti, pixels, spacing
from memx.data.streams.base import Facts, Stream
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class NiftiStream(Stream):
    """A `.nii` or `.nii.gz` clip, read slice by slice from disk."""

    kind = "nifti"

    def __init__(self, path: Path, *, colour: bool = False):
        self.header: Any = open_nifti(path).header
        super().__init__(path, _facts(path, self.header), colour=colour)

    def declared_intensity(self) -> Intensity | None:
        dtype = self.header.get_data_dtype()
        scaled = self.header.get_slope_inter() not in ((None, None), (1.0, 0.0))
        eight_bit = dtype == np.uint8 or dtype.fields is not None
        return Intensity.of_bits(8) if eight_bit and not scaled else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        image = open_nifti(self.path)
        for index in range(self.facts.length or 0):
            what = f"frame {index} of {self.length}"
            frame = pixels(image, self.path, _frame_index(image.shape, index), what=what)
            if frame.dtype.fields is not None:
                frame = np.stack([frame[channel] for channel in ("R", "G", "B")], axis=-1)
            yield frame.swapaxes(0, 1)


def _frame_index(shape: tuple[int, ...], index: int) -> tuple[Any, ...]:
    everything = slice(None)
    if len(shape) == 2:
        return (everything, everything)
    return (everything, everything, 0, index) if len(shape) == 4 else (everything, everything, index)


def _facts(path: Path, header: Any) -> Facts:
    shape = header.get_data_shape()
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[2] != 1) or 0 in shape:
        what = f"this NIfTI file is {tuple(shape)}"
        raise DataError(what, file=path, remedy="a clip is (x, y, t) or (x, y, 1, t)")
    millimetres, note = spacing(header)
    zooms, time_unit = header.get_zooms(), header.get_xyzt_units()[1]
    seconds = float(zooms[3]) * _SECONDS.get(time_unit, 0.0) if len(shape) == 4 else 0.0
    return Facts(
        size=(int(shape[1]), int(shape[0])),
        length=int(shape[-1]) if len(shape) > 2 else 1,
        fps=1.0 / seconds if seconds > 0 else None,
        spacing=millimetres,
        spacing_note=note,
        coloured=header.get_data_dtype().fields is not None,
    )
