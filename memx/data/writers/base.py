"""The contract of a mask writer: one mask a frame, whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from jaxtyping import UInt8

from memx.data.streams.base import Stream
from memx.data.writers.atomic import AtomicFile, AtomicFolder, writing
from memx.errors import UserError

S = TypeVar("S", bound=Stream)


class MaskWriter(ABC, Generic[S]):
    """Writes the label masks of a stream's frames, in order, under a temporary name until `close`.

    path   the final file or folder

    As a context manager it closes at the end of the block and aborts on an exception. An error while writing (a full
    disk, a wrong mask) aborts at once, so nothing half-written stays.
    """

    def __init__(self, stream: S, path: Path, *, structures: Mapping[str, int]):
        if path.resolve() == stream.path.resolve():
            raise UserError(f"{path}: the masks would overwrite the clip itself; choose another place")
        self.stream = stream
        self.path = path
        self.structures = dict(structures)
        self.count = 0
        self._known = np.isin(np.arange(256), [0, *self.structures.values()])
        self._output = self._open_output()
        self._open = True
        with self._whole_or_nothing():
            self._begin()

    def _open_output(self) -> AtomicFile | AtomicFolder:
        return AtomicFile(self.path)

    @abstractmethod
    def _begin(self) -> None:
        """Write what comes before the first mask."""

    @abstractmethod
    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        """Write one mask, checked and C-contiguous."""

    def _finish(self) -> None:
        """Write what comes after the last mask."""

    def _release(self) -> None:
        """Let go of what `_begin` opened, without writing."""

    def write(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        """Append the mask of the next frame: (y, x) uint8 label values at the frame's own size.

        Raises ValueError for another shape or type, a label that `structures` does not name, or one mask too many;
        UserError when the disk is full or cannot be written.
        """
        if not self._open:
            raise ValueError(f"{self.path}: the writer is closed")
        with self._whole_or_nothing():
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

    def close(self) -> None:
        """Finish the file and give it its final name; a second call does nothing.

        Raises ValueError when masks are missing, and then leaves no file.
        """
        if not self._open:
            return
        with self._whole_or_nothing():
            if self.count == 0 or self.count < (self.stream.length or 0):
                raise ValueError(f"{self.path}: {self.count} masks were written for {self.stream.length} frames")
            self._finish()
            self._output.commit()
        self._open = False

    def abort(self) -> None:
        """Remove what was written so far; a file of the final name stays as it was."""
        if self._open:
            self._open = False
            self._release()
            self._output.abort()

    @contextmanager
    def _whole_or_nothing(self) -> Iterator[None]:
        try:
            with writing(self.path):
                yield
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

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
