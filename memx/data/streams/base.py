"""What every kind of clip on disk offers: facts that are known at once, and frames one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memx.data.channels import with_channels
from memx.data.pixels import check_fits
from memx.data.streams.intensity import Intensity
from memx.errors import DataError


@dataclass(frozen=True)
class Facts:
    """What a file says about its clip before a frame is decoded.

    size           (y, x) pixels
    length         number of frames, or None where the container does not say
    fps            frames a second, or None
    spacing        (row, column) millimetres a pixel, or None
    spacing_note   where the spacing comes from, or why there is none
    coloured       whether the file stores colour
    inverted       whether the smallest stored value is white (DICOM MONOCHROME1)
    notes          what a user of the clip should know, one sentence each
    """

    size: tuple[int, int]
    length: int | None
    fps: float | None = None
    spacing: tuple[float, float] | None = None
    spacing_note: str = ""
    coloured: bool = False
    inverted: bool = False
    notes: tuple[str, ...] = ()


class Stream(ABC):
    """A clip on disk as frames, decoded one at a time; each iteration starts again at the first frame.

    Iterating yields float32 (c, y, x) in [0, 1]. c is 1; with `colour=True` it is 3 for a clip that stores colour.
    Colour becomes grey by BT.601 luma, 0.299 R + 0.587 G + 0.114 B. `intensity` is the scaling rule in force.

    Raises DataError, naming the file and the frame, when a frame cannot be decoded, is not of the clip's size, or
    holds NaN or infinite pixels, and when the file ends before the number of frames that it promises.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path, facts: Facts, *, colour: bool = False):
        self.path = path
        self.facts = facts
        self.colour = colour

    @abstractmethod
    def stored_frames(self) -> Iterator[np.ndarray]:
        """Frames with their stored values, (y, x) or (y, x, 3), decoded one at a time."""

    def declared_intensity(self) -> Intensity | None:
        """The scaling rule, where the file declares the range of its values."""
        return None

    @property
    def name(self) -> str:
        """The clip's name without folder and suffix: `patient0001_4CH` for `patient0001_4CH.nii.gz`."""
        return self.path.name if self.path.is_dir() else clip_name(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.facts.size

    @property
    def length(self) -> int | None:
        """Number of frames, or None where the container does not say."""
        return self.facts.length

    @property
    def fps(self) -> float | None:
        """Frames a second, or None."""
        return self.facts.fps

    @property
    def spacing(self) -> tuple[float, float] | None:
        """(row, column) millimetres a pixel, or None."""
        return self.facts.spacing

    @property
    def spacing_note(self) -> str:
        """Where the spacing comes from, or why there is none."""
        return self.facts.spacing_note

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user of the clip should know, one sentence each."""
        return self.facts.notes

    @property
    def channels(self) -> int:
        """Channels of the frames that iterating yields."""
        return 3 if self.colour and self.facts.coloured else 1

    @cached_property
    def intensity(self) -> Intensity:
        """The scaling rule; costs one pass over the clip where the file declares no range of values."""
        rule = self.declared_intensity() or Intensity.of_values(self._checked_frames())
        return rule.inverted() if self.facts.inverted else rule

    def __iter__(self) -> Iterator[Float[Tensor, "c y x"]]:
        intensity = self.intensity
        for stored in self._checked_frames():
            frame = intensity(stored)
            frame = frame[None] if frame.ndim == 2 else frame.transpose(2, 0, 1)
            image = torch.from_numpy(np.ascontiguousarray(frame))
            yield with_channels(image[None], self.channels)[0].clamp(0, 1)

    def read(self) -> Float[Tensor, "t c y x"]:
        """The whole clip: what iterating yields, each frame decoded straight into its place.

        Raises DataError for a clip that does not fit (`check_fits`), before a frame is decoded where the length is
        known.
        """
        length = self.length or 1
        check_fits(self.path, length, self.channels, self.size)
        video = torch.empty(length, self.channels, *self.size)
        count = 0
        for count, frame in enumerate(self, start=1):
            if count > len(video):
                check_fits(self.path, count, self.channels, self.size)
                video = torch.cat([video, torch.empty_like(video)])
            video[count - 1] = frame
        return video[:count]

    def _checked_frames(self) -> Iterator[np.ndarray]:
        count = 0
        for count, stored in enumerate(self.stored_frames(), start=1):
            if stored.shape[:2] != self.size:
                raise DataError(
                    f"frame {count - 1} is {sizes(stored.shape)} pixels but the clip is {sizes(self.size)}",
                    file=self.path,
                    remedy="all frames of a clip have one size: export it again",
                )
            if np.issubdtype(stored.dtype, np.floating) and not np.isfinite(stored).all():
                bad = int((~np.isfinite(stored)).sum())
                raise DataError(
                    f"frame {count - 1} has {bad} NaN or infinite pixels",
                    file=self.path,
                    remedy="replace them (0 is usual) or leave the clip out",
                )
            yield stored
        if count == 0:
            raise DataError("no frame could be decoded", file=self.path, remedy="copy it again from its source")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, length={self.length}, size={self.size})"


def check_complete(path: Path, promised: int | None, count: int) -> None:
    """Raise DataError when a file held fewer frames than its header promises."""
    if promised is not None and count < promised:
        raise DataError(
            f"the header promises {promised} frames but only {count} could be decoded",
            file=path,
            remedy="the file is truncated or damaged, so copy it again from its source",
        )


def sizes(shape: tuple[int, ...]) -> str:
    """`640 × 480`: width by height of a (y, x, …) shape."""
    return f"{shape[1]} × {shape[0]}"


def clip_name(path: Path) -> str:
    """A file's name without its suffix; `.nii.gz` counts as one suffix."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
