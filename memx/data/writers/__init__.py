"""Masks back to disk in the kind that the clip came in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memx.data.streams.base import Stream
from memx.data.streams.dicom import DicomStream
from memx.data.streams.images import ImagesStream
from memx.data.streams.mhd import MhdStream
from memx.data.streams.nifti import NiftiStream
from memx.data.streams.video import VideoStream
from memx.data.writers.atomic import AtomicFile, AtomicFolder
from memx.data.writers.base import MaskWriter
from memx.data.writers.dicom import DicomMaskWriter
from memx.data.writers.images import ImagesMaskWriter
from memx.data.writers.mhd import MhdMaskWriter
from memx.data.writers.nifti import NiftiMaskWriter
from memx.data.writers.video import VideoMaskWriter

__all__ = ["AtomicFile", "AtomicFolder", "MaskWriter", "open_mask_writer"]


def open_mask_writer(stream: Stream, out: str | Path, *, structures: Mapping[str, int]) -> MaskWriter:
    """A writer of label masks, one a frame of `stream`, in the stream's own kind.

    out          path without suffix; the kind's suffix is appended (a folder of images becomes the folder itself)
    structures   names and label values, e.g. `{"left ventricle": 1, "myocardium": 2}`; 0 is background

    | kind   | file                                                                                          |
    |--------|-----------------------------------------------------------------------------------------------|
    | nifti  | NIfTI, uint8, the clip's own shape, affine and units; gzipped where the clip is               |
    | mhd    | MetaImage, uint8, the clip's own shape, spacing, origin and direction                         |
    | video  | AVI and MKV: FFV1, 8-bit grey. MP4 and MOV: lossless H.264 (RGB, High 4:4:4 Predictive)       |
    | dicom  | Multi-frame Grayscale Byte Secondary Capture of the same patient and study, 8-bit             |
    | images | a folder of 8-bit grey PNGs with the images' names                                            |

    Label values survive exactly. The final name appears when `close` has finished, and not before.

    Raises UserError when the place cannot be written or would overwrite the clip itself.
    """
    out = Path(out)
    if isinstance(stream, NiftiStream):
        return NiftiMaskWriter(stream, out, structures=structures)
    if isinstance(stream, MhdStream):
        return MhdMaskWriter(stream, out, structures=structures)
    if isinstance(stream, VideoStream):
        return VideoMaskWriter(stream, out, structures=structures)
    if isinstance(stream, DicomStream):
        return DicomMaskWriter(stream, out, structures=structures)
    if isinstance(stream, ImagesStream):
        return ImagesMaskWriter(stream, out, structures=structures)
    raise TypeError(f"open_mask_writer: no writer for {type(stream).__name__}")
