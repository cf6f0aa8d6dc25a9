"""DICOM masks: a Multi-frame Grayscale Byte Secondary Capture that refers to the clip it was made from."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleByteSecondaryCaptureImageStorage, generate_uid

from memx._version import __version__
from memx.data.streams.dicom import DicomStream
from memx.data.writers.base import FileMaskWriter, suffixed

_ALWAYS_THERE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)  # type 2 of the standard: empty where the clip has none
_WHERE_KNOWN = ("SpecificCharacterSet", "IssuerOfPatientID", "StudyDescription")
_IMPLEMENTATION = generate_uid(entropy_srcs=["memx-video"])


class DicomMaskWriter(FileMaskWriter[DicomStream]):
    """Writes 8-bit label values uncompressed, frame after frame, with the clip's patient, study and frame time.

    The series and the object get new identifiers; Source Image Sequence names the clip. A window makes the labels
    visible in a viewer. Source: DICOM PS3.3 A.8.3.
    """

    def __init__(self, stream: DicomStream, out: Path, *, structures: Mapping[str, int]):
        super().__init__(stream, suffixed(out, ".dcm"), structures=structures)

    @property
    def _pixel_bytes(self) -> int:
        return (self.stream.length or 1) * self.stream.size[0] * self.stream.size[1]

    def _begin(self) -> None:
        header = io.BytesIO()
        self._header().save_as(header, enforce_file_format=True)
        self._put(header.getvalue())
        padded = self._pixel_bytes + self._pixel_bytes % 2
        self._put(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, padded))

    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        self._put(mask.data)

    def _end(self) -> None:
        self._put(b"\0" * (self._pixel_bytes % 2))

    def _header(self) -> Dataset:
        source, now = self.stream.header, datetime.now()
        header = Dataset()
        for word in _ALWAYS_THERE:
            setattr(header, word, source.get(word))
        for word in _WHERE_KNOWN:
            if word in source:
                setattr(header, word, source.get(word))
        header.StudyInstanceUID = source.get("StudyInstanceUID") or generate_uid()
        header.SOPClassUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        header.SOPInstanceUID = generate_uid()
        header.SeriesInstanceUID = generate_uid()
        header.SeriesNumber = None
        header.InstanceNumber = 1
        header.Modality = source.get("Modality") or "OT"
        header.ConversionType = "WSD"
        header.Manufacturer = "memx"
        header.ManufacturerModelName = "memx-video"
        header.SoftwareVersions = __version__
        header.SeriesDescription = "memx segmentation masks"
        header.DerivationDescription = f"Label values: {self.describe()}"
        header.ImageType = ["DERIVED", "SECONDARY"]
        header.BurnedInAnnotation = "NO"
        header.PatientOrientation = None
        header.ContentDate = now.strftime("%Y%m%d")
        header.ContentTime = now.strftime("%H%M%S")
        self._refer_to(source, header)
        self._describe_pixels(header)
        header.file_meta = FileMetaDataset()
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.ImplementationClassUID = _IMPLEMENTATION
        return header

    def _refer_to(self, source: Dataset, header: Dataset) -> None:
        if source.get("SOPClassUID") and source.get("SOPInstanceUID"):
            reference = Dataset()
            reference.ReferencedSOPClassUID = source.SOPClassUID
            reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
            header.SourceImageSequence = Sequence([reference])

    def _describe_pixels(self, header: Dataset) -> None:
        header.Rows, header.Columns = self.stream.size
        header.NumberOfFrames = self.stream.length
        header.SamplesPerPixel = 1
        header.PhotometricInterpretation = "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
        header.RescaleIntercept, header.RescaleSlope, header.RescaleType = 0, 1, "US"
        header.PresentationLUTShape = "IDENTITY"
        top = max(self.structures.values(), default=1)
        header.WindowCenter, header.WindowWidth = (top + 1) / 2, top + 1
        if (self.stream.length or 1) > 1:
            header.FrameTime = f"{1000.0 / (self.stream.fps or 25.0):.6g}"
            header.FrameIncrementPointer = 0x00181063
        if self.stream.spacing:
            header.PixelSpacing = [f"{value:.8g}" for value in self.stream.spacing]
