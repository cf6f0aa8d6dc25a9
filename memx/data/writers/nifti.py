"""NIfTI masks: the clip's header with another data type, then one frame after another."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from memx.data.streams.nifti import NiftiStream
from memx.data.writers.base import FileMaskWriter, suffixed


class NiftiMaskWriter(FileMaskWriter[NiftiStream]):
    """Writes uint8 NIfTI with the clip's shape, affine, pixel size and units; x varies fastest, then y, then t."""

    def __init__(self, stream: NiftiStream, out: Path, *, structures: Mapping[str, int]):
        self._gzipped = stream.path.name.lower().endswith(".gz")
        super().__init__(stream, suffixed(out, ".nii.gz" if self._gzipped else ".nii"), structures=structures)

    def _begin(self) -> None:
        raw = self._output.file
        self._sink: IO[bytes] = raw
        if self._gzipped:
            self._sink = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)  # pyright: ignore[reportAttributeAccessIssue]
        header = self.stream.header.copy()
        header.extensions.clear()
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        header["cal_min"], header["cal_max"] = 0, max(self.structures.values(), default=1)
        header["descrip"] = self.describe().encode("ascii", "replace")[:79]
        header.set_data_offset(0)
        header.write_to(self._sink)

    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        self._sink.write(mask.data)

    def _end(self) -> None:
        if self._gzipped:
            self._sink.close()
