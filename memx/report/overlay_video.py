"""An overlay video that any browser plays, written picture by picture."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import Colorspace
from jaxtyping import UInt8

from memx.data.writers.atomic import AtomicFile
from memx.data.writers.whole import WholeOutput

_BT709 = 1


class OverlayVideo(WholeOutput):
    """Writes pictures as H.264 MP4 in yuv420p, the form that every browser plays; BT.709 colours.

    path   the final file; it appears when `close` has finished, and not before
    fps    pictures a second

    All pictures have the first one's size; an odd side is made even by repeating its last row or column. As a context
    manager it closes at the end of the block and aborts on an exception; closed without a picture it raises ValueError.

    Raises UserError when the disk is full or the file cannot be written.
    """

    _output: AtomicFile

    def __init__(self, path: str | Path, *, fps: float):
        if fps <= 0:
            raise ValueError(f"fps: wants a positive number, got {fps}")
        self.fps = fps
        self.size: tuple[int, int] | None = None
        self._container: OutputContainer | None = None
        super().__init__(Path(path))

    def write(self, picture: UInt8[np.ndarray, "y x 3"]) -> None:
        """Append one RGB picture. Raises ValueError when it has another size than the first."""
        with self._step():
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise ValueError(f"picture: wants uint8 (y, x, 3), got {picture.dtype} {picture.shape}")
            if self.size is None:
                self.size = (picture.shape[0], picture.shape[1])
                self._begin(self.size)
            if picture.shape[:2] != self.size:
                raise ValueError(f"picture: wants {self.size} as the first one, got {picture.shape[:2]}")
            even = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            self._mux(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709))

    def _finish(self) -> None:
        if self._container is None:
            raise ValueError(f"{self.path}: no picture was written")
        self._mux(None)
        self._container.close()
        self._container = None

    def _release(self) -> None:
        if self._container is not None:
            with suppress(OSError, FFmpegError):  # closing writes the index, which fails again on a full disk
                self._container.close()

    def _begin(self, size: tuple[int, int]) -> None:
        self._container = av.open(self._output.file, "w", format="mp4")
        rate = Fraction(self.fps).limit_denominator(65535)
        self._track = self._container.add_stream("libx264", rate=rate, options={"crf": "17", "preset": "fast"})
        self._track.height, self._track.width = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._track.pix_fmt = "yuv420p"
        context = self._track.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709

    def _mux(self, frame: av.VideoFrame | None) -> None:
        if self._container is not None:
            self._container.mux(self._track.encode(frame))
