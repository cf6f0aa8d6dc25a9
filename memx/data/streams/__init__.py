"""Any clip on disk as a stream of frames: `for frame in open_stream("clip.avi"): …`."""

from __future__ import annotations

from memx.data.streams.base import Facts, Stream
from memx.data.streams.find import find_clips, open_stream
from memx.data.streams.intensity import Intensity
from memx.data.streams.sector import sector_box

__all__ = ["Facts", "Intensity", "Stream", "find_clips", "open_stream", "sector_box"]
