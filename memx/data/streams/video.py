"""AVI, MP4, MOV and MKV clips through PyAV, decoded one frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream as AvStream

from memx.data.access import permitted
from memx.data.streams.base import Facts, Stream, check_complete
from memx.data.streams.containers import check_whole
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Options of FFmpeg's decoders by which damaged data are an error rather than a frame with part of it made up."""


class VideoStream(Stream):
    """The first video track of a file; one stored frame a time step, timestamps are not resampled.

    Values are fractions of the full range at the video's own bit depth. `fps` is the average rate. A damaged frame is
    refused wherever its decoder can tell; Motion JPEG, which has no checksum, does not always.
    """

    kind = "video"

    def __init__(self, path: Path, *, colour: bool = False):
        check_whole(path)
        with _open(path) as container:
            track = _track(path, container)
            context = track.codec_context
            component = context.format.components[0] if context.format else None
            self.bits = 8 if component is None or component.bits <= 8 else 16
            self.rate: Fraction | None = track.average_rate or track.guessed_rate
            coloured = context.format is None or len(context.format.components) > 2
            facts = Facts(
                size=(context.height, context.width),
                length=track.frames - _cut_away(path, container) if track.frames else None,
                fps=float(self.rate) if self.rate else None,
                spacing_note="a video file carries no millimetre spacing",
                coloured=coloured,
            )
        self._pixels = (
            ("rgb24" if self.bits == 8 else "rgb48le") if coloured else ("gray" if self.bits == 8 else "gray16le")
        )
        super().__init__(path, facts, colour=colour)

    def declared_intensity(self) -> Intensity:
        return Intensity.of_bits(self.bits)

    def stored_frames(self) -> Iterator[np.ndarray]:
        count = 0
        with _open(self.path) as container:
            try:
                track = _track(self.path, container)
                track.codec_context.options = _STRICT
                for packet in container.demux(track):
                    for frame in packet.decode():
                        if frame.is_corrupt:
                            raise DataError(
                                f"frame {count} is damaged",
                                file=self.path,
                                remedy="copy the file again from its source",
                            )
                        yield frame_pixels(frame, self._pixels)
                        count += 1
            except FFmpegError as error:
                raise DataError(
                    f"frame {count} cannot be decoded, the file is truncated or damaged ({error.strerror})",
                    file=self.path,
                    remedy="copy it again from its source",
                ) from None
        check_complete(self.path, self.length, count)


def frame_pixels(frame: av.VideoFrame, pixels: str) -> np.ndarray:
    """A decoded frame as an array (y, x) or (y, x, 3) of the named pixel format."""
    return frame.to_ndarray(format=pixels)


def _cut_away(path: Path, container: InputContainer) -> int:
    """How many frames the edit list of an MP4 or MOV file hides; they are counted in its header but never shown."""
    if "mp4" not in container.format.name:
        return 0
    try:
        return sum(packet.is_discard for packet in container.demux(_track(path, container)))
    except FFmpegError as error:
        raise DataError(
            f"the file is truncated or damaged ({error.strerror})", file=path, remedy="copy it again"
        ) from None


def _open(path: Path) -> InputContainer:
    try:
        with permitted(path):
            return av.open(str(path), "r", metadata_errors="ignore")
    except FFmpegError as error:
        raise DataError(
            f"not a readable video ({error.strerror}): it is empty or damaged, or an MP4 cut off before its index",
            file=path,
            remedy="copy it again from its source",
        ) from None


def _track(path: Path, container: InputContainer) -> AvStream:
    if not container.streams.video:
        raise DataError("the file has no video track", file=path, remedy="give the file that has the pictures")
    track = container.streams.video[0]
    if track.codec_context is None or not track.codec_context.width:
        raise DataError(
            "the video track cannot be decoded here",
            file=path,
            remedy="re-encode it: ffmpeg -i IN -c:v libx264 OUT.mp4",
        )
    return track
