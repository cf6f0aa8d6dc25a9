"""DICOM clips, multi-frame or single-frame, decoded one frame at a time by pydicom."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from memx.data.access import denied, permitted
from memx.data.streams.base import Facts, Stream, check_complete
from memx.data.streams.dicom_calibration import frame_rate, pixel_spacing
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    BytesLengthException,
    struct.error,
)
_REQUIRED = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")


class DicomStream(Stream):
    """The frames of a DICOM object. `header` is its data set without the pixels.

    Windows and presentation states are not applied; MONOCHROME1 is inverted and palettes are looked up. Ultrasound
    objects have no Rescale Slope and Intercept (PS3.3 A.6 and A.7), but what was converted to one may: a positive slope
    is applied, slope · stored + intercept, and the values are then scaled as those of a file that declares no range.
    Raises DataError for a slope that is not positive.
    """

    kind = "dicom"

    def __init__(self, path: Path, *, colour: bool = False):
        self.header = _read_header(path)
        with _reading(path):
            facts = _facts(path, self.header)
            self._rescale = None if facts.coloured else _rescale(path, self.header)
        super().__init__(path, facts, colour=colour)

    def declared_intensity(self) -> Intensity | None:
        unsigned = self.header.get("PixelRepresentation", 0) == 0
        eight_bit = unsigned and self.header.get("BitsStored") == 8 and not _has_palette(self.header)
        return Intensity.of_bits(8) if eight_bit and self._rescale is None else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        count = 0
        palette = _has_palette(self.header)
        try:
            for frame in self._decoded():
                if count == self.length:
                    raise DataError(
                        f"the header promises {self.length} frames (NumberOfFrames) but there are more",
                        file=self.path,
                        remedy="it is damaged, so export the clip again",
                    )
                if palette:
                    frame = apply_color_lut(frame, self.header)
                elif self._rescale is not None:
                    slope, intercept = self._rescale
                    frame = slope * frame + intercept
                yield frame
                count += 1
        except (RuntimeError, NotImplementedError) as error:
            raise DataError(
                f"frame {count} cannot be decoded ({' '.join(str(error).split())})",
                file=self.path,
                remedy=_remedy(self.header),
            ) from None
        except PermissionError:
            raise denied(self.path) from None
        except (ValueError, AttributeError, OSError, EOFError, struct.error) as error:
            raise DataError(
                f"frame {count} of {self.length} cannot be decoded, the file is truncated or damaged ({error})",
                file=self.path,
                remedy="copy it again from its source",
            ) from None
        check_complete(self.path, self.length, count)

    def _decoded(self) -> Iterator[np.ndarray]:
        """The frames as pydicom decodes them. Its iterator steps through uncompressed 4:2:2 data, which have two bytes
        a pixel, as if they had three; frame by frame they are right."""
        compressed = UID(self.header.file_meta.get("TransferSyntaxUID", "")).is_compressed
        if self.header.PhotometricInterpretation != "YBR_FULL_422" or compressed:
            yield from iter_pixels(self.path)
            return
        for index in range(self.facts.length or 0):
            yield pixel_array(self.path, index=index)


def _rescale(path: Path, header: Dataset) -> tuple[float, float] | None:
    """Rescale Slope and Intercept, or None where they change nothing."""
    words = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
    slope, intercept = (
        default if header.get(word) in (None, "") else float(header[word].value) for word, default in words.items()
    )
    if not (slope > 0 and math.isfinite(slope) and math.isfinite(intercept)):
        raise DataError(
            f"Rescale Slope {slope:g} and Intercept {intercept:g} are not those of an ultrasound clip",
            file=path,
            remedy="export it again without them (or with a positive slope)",
        )
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)


def _has_palette(header: Dataset) -> bool:
    return header.get("PhotometricInterpretation") == "PALETTE COLOR"


def _remedy(header: Dataset) -> str:
    syntax = header.file_meta.get("TransferSyntaxUID", UID("")).name
    if "MPEG" in syntax or "HEVC" in syntax:
        return f"its pixels are a video inside DICOM ({syntax}): export the clip as MP4 and give that"
    return (
        f"the data are damaged, or no installed decoder reads {syntax}: `pip install pylibjpeg pylibjpeg-libjpeg "
        "pylibjpeg-openjpeg` adds JPEG, JPEG-LS and JPEG 2000"
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what pydicom raises on a header that it may not read, or cannot make sense of, into a DataError."""
    try:
        with permitted(path):
            yield
    except InvalidDicomError:
        raise DataError(
            "not a DICOM file (no DICOM mark after the first 128 bytes)",
            file=path,
            remedy="copy it again from its source, or rename it if it is of another kind",
        ) from None
    except _DAMAGED as error:
        raise DataError(
            f"the DICOM header is damaged ({error})", file=path, remedy="copy it again from its source"
        ) from None


def _read_header(path: Path) -> Dataset:
    with _reading(path), path.open("rb") as file:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        pixels_follow = bool(file.read(1))
        for _ in header.iterall():  # pydicom converts a value when it is first looked at
            pass
        deflated = header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        what = header.get("SOPClassUID", UID("")).name or "DICOM object"
    if deflated:
        raise DataError("deflated DICOM is not read", file=path, remedy="inflate it first: dcmconv +te IN OUT")
    if not pixels_follow:
        raise DataError(
            f"this {what} has no pixel data, or was cut off before",
            file=path,
            remedy="give the file of the clip itself",
        )
    missing = [word for word in _REQUIRED if header.get(word) in (None, "")]
    if missing:
        raise DataError(
            f"this {what} lacks {', '.join(missing)}, without which its pixels cannot be read",
            file=path,
            remedy="export the clip again",
        )
    return header


def _facts(path: Path, header: Dataset) -> Facts:
    spacing, note = pixel_spacing(header)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames < 1 or header.Rows < 1 or header.Columns < 1:
        raise DataError(
            f"the header tells of {frames} frames of {header.Columns} × {header.Rows} pixels",
            file=path,
            remedy="export the clip again",
        )
    return Facts(
        size=(int(header.Rows), int(header.Columns)),
        length=frames,
        fps=frame_rate(header),
        spacing=spacing,
        spacing_note=note,
        coloured=int(header.get("SamplesPerPixel", 1)) == 3 or _has_palette(header),
        inverted=header.PhotometricInterpretation == "MONOCHROME1",
    )
