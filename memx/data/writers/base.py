"""The contract of a mask writer: one mask a frame, whole or not at all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import UInt8

from memx.data.streams.base import Stream
from memx.data.writers.atomic import AtomicFile
from memx.data.writers.whole import WholeOutput
from memx.errors import UserError

S = TypeVar("S", bound=Stream)


class MaskWriter(WholeOutput, Generic[S]):
    """Writes the label masks of a stream's frames, in order, under a temporary name until `close`.

    path   the final file or folder
    """

    def __init__(self, stream: S, path: Path, *, structures: Mapping[str, int]):
        if path.resolve() == stream.path.resolve():
            raise UserError(f"{path}: the masks would overwrite the clip itself; choose another place")
        self.stream = stream
        self.structures = dict(structures)
        self.count = 0
        self._known = np.isin(np.arange(256), [0, *self.structures.values()])
        super().__init__(path)
        with self._step():
            self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Write what comes before the first mask."""

    @abstractmethod
    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        """Write one mask, checked and C-contiguous."""

    def _end(self) -> None:
        """Write what comes after the last mask."""

    def _finish(self) -> None:
        if self.count == 0 or self.count < (self.stream.length or 0):
            raise ValueError(f"{self.path}: {self.count} masks were written for {self.stream.length} frames")
        self._end()

    def write(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        """Append the mask of the next frame: (y, x) uint8 label values at the frame's own size.

        Raises ValueError for another shape or type, a label that `structures` does not name, or one mask too many;
        UserError when the disk is full or cannot be written.
        """
        with self._step():
            mask = np.asarray(mask)
            if mask.dtype != np.uint8 or mask.shape != self.stream.size:
                raise ValueError(f"mask: wants uint8 {self.stream.size}, got {mask.dtype} {mask.shape}")
            if not self._known[mask].all():
                strange = sorted(set(np.unique(mask).tolist()) - {0, *self.structures.values()})
                raise ValueError(f"mask: label {strange[0]} is not among the structures {self.structures}")
            if self.stream.length is not None and self.count == self.stream.length:
                raise ValueError(f"{self.stream.path}: has {self.stream.length} frames, one mask too many was written")
            self._append(np.ascontiguousarray(mask))
            self.count += 1

    def describe(self) -> str:
        """The label values in words: `0 background, 1 left ventricle`."""
        return ", ".join(f"{label} {name}" for name, label in {"background": 0, **self.structures}.items())


class FileMaskWriter(MaskWriter[S]):
    """A mask writer whose output is one file."""

    _output: AtomicFile

    def _put(self, data: bytes | memoryview) -> None:
        self._output.file.write(data)


def suffixed(out: Path, suffix: str) -> Path:
    """Append a suffix to a name that may itself have dots."""
    return out.with_name(out.name + suffix)
