"""Video masks, lossless: what a decoder gives back are the label values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from jaxtyping import UInt8

from memx.data.streams.video import VideoStream
from memx.data.writers.base import FileMaskWriter, suffixed

_FORMATS = {".avi": "avi", ".mkv": "matroska", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
_UNKNOWN_RATE = Fraction(25)


class VideoMaskWriter(FileMaskWriter[VideoStream]):
    """AVI and MKV: FFV1 in 8-bit grey. MP4 and MOV: H.264 with qp 0 in RGB, so that no colour range is ever converted.

    The frame rate is the clip's own (25 where it has none).
    """

    def __init__(self, stream: VideoStream, out: Path, *, structures: Mapping[str, int]):
        suffix = stream.path.suffix.lower() if stream.path.suffix.lower() in _FORMATS else ".avi"
        self._container: OutputContainer | None = None
        self._format = _FORMATS[suffix]
        super().__init__(stream, suffixed(out, suffix), structures=structures)

    def _begin(self) -> None:
        container = self._container = av.open(self._output.file, "w", format=self._format)
        container.metadata["comment"] = self.describe()
        rate = (self.stream.rate or _UNKNOWN_RATE).limit_denominator(65535)
        if self._format in ("avi", "matroska"):
            self._track = container.add_stream("ffv1", rate=rate)
            self._track.pix_fmt = "gray"
        else:
            self._track = container.add_stream("libx264rgb", rate=rate, options={"qp": "0"})
            self._track.pix_fmt = "rgb24"
        self._track.height, self._track.width = self.stream.size

    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        pixels = "gray" if self._track.pix_fmt == "gray" else "rgb24"
        values = mask if pixels == "gray" else np.repeat(mask[..., None], 3, axis=2)
        self._mux(av.VideoFrame.from_ndarray(values, format=pixels))

    def _end(self) -> None:
        self._mux(None)
        if self._container is not None:
            self._container.close()
            self._container = None

    def _release(self) -> None:
        if self._container is not None:
            with suppress(OSError, FFmpegError):  # closing writes the trailer, which fails again on a full disk
                self._container.close()
            self._container = None

    def _mux(self, frame: av.VideoFrame | None) -> None:
        if self._container is not None:
            self._container.mux(self._track.encode(frame))
