"""What every writer of a clip shares: its output is whole under its final name, or not there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from memx.data.writers.atomic import AtomicFile, AtomicFolder, writing


class WholeOutput(ABC):
    """A file or folder that is written step by step under a temporary name until `close`.

    path   the final file or folder

    As a context manager it closes at the end of the block and aborts on an exception. An error while writing (a full
    disk, a wrong frame) aborts at once, so nothing half-written stays; an OSError becomes a UserError.
    """

    def __init__(self, path: Path):
        self.path = path
        self._output = self._open_output()
        self._open = True

    def _open_output(self) -> AtomicFile | AtomicFolder:
        return AtomicFile(self.path)

    @abstractmethod
    def _finish(self) -> None:
        """Write what comes after the last frame. Raises ValueError when frames are missing."""

    def _release(self) -> None:  # noqa: B027
        """Let go of what writing opened, without writing."""

    @contextmanager
    def _step(self) -> Iterator[None]:
        """A step of writing: whatever goes wrong in the block aborts. Raises ValueError after `close` or `abort`."""
        if not self._open:
            raise ValueError(f"{self.path}: the writer is closed")
        try:
            with writing(self.path):
                yield
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Finish the output and give it its final name; a second call does nothing.

        Raises ValueError when frames are missing, and then leaves nothing.
        """
        if not self._open:
            return
        with self._step():
            self._finish()
            self._output.commit()
        self._open = False

    def abort(self) -> None:
        """Remove what was written so far; what had the final name stays as it was."""
        if self._open:
            self._open = False
            self._release()
            self._output.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
