"""DICOM clips, multi-frame or single-frame, decoded one frame at a time by pydicom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, iter_pixels

from memx.data.streams.base import Facts, Stream, check_complete, sizes
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

_CENTIMETRES = 3  # Physical Units of a calibrated ultrasound region
_TWO_DIMENSIONAL = 1  # Region Spatial Format
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class DicomStream(Stream):
    """The frames of a DICOM object. `header` is its data set without the pixels.

    Windows and presentation states are not applied; MONOCHROME1 is inverted and palettes are looked up.
    """

    kind = "dicom"

    def __init__(self, path: Path, *, colour: bool = False):
        self.header = _read_header(path)
        super().__init__(path, _facts(path, self.header), colour=colour)

    @property
    def _palette(self) -> bool:
        return self.header.PhotometricInterpretation == "PALETTE COLOR"

    def declared_intensity(self) -> Intensity | None:
        unsigned = self.header.get("PixelRepresentation", 0) == 0
        eight_bit = unsigned and int(self.header.get("BitsStored", 0)) == 8 and not self._palette
        return self._oriented(Intensity.of_bits(8)) if eight_bit else None

    @property
    def intensity(self) -> Intensity:
        """The scaling rule; `low` and `high` are exchanged for MONOCHROME1, whose 0 is white."""
        return super().intensity

    def stored_frames(self) -> Iterator[np.ndarray]:
        count = 0
        try:
            for count, frame in enumerate(iter_pixels(self.path), start=1):
                yield apply_color_lut(frame, self.header) if self._palette else frame
        except (RuntimeError, NotImplementedError) as error:
            syntax = self.header.file_meta.get("TransferSyntaxUID", pydicom.uid.UID(""))
            raise DataError(
                f"{self.path}: no installed decoder reads frame {count} ({syntax.name}); "
                f"`pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg` adds JPEG, JPEG-LS and JPEG 2000 ({error})"
            ) from None
        except (ValueError, AttributeError, OSError, EOFError) as error:
            raise DataError(
                f"{self.path}: frame {count} of {self.length} cannot be decoded, the file is truncated or damaged; copy it "
                f"again from its source ({error})"
            ) from None
        check_complete(self.path, self.length, count)
