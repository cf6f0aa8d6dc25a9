"""A folder of masks for a folder of images: PNGs of the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from memx.data.streams.images import ImagesStream
from memx.data.writers.atomic import AtomicFolder
from memx.data.writers.base import MaskWriter
from memx.errors import DataError


class ImagesMaskWriter(MaskWriter[ImagesStream]):
    """Writes 8-bit grey PNGs whose pixels are the label values; the labels' names are in the PNG's Comment."""

    _output: AtomicFolder

    def __init__(self, stream: ImagesStream, out: Path, *, structures: Mapping[str, int]):
        self._names = [f"{file.stem}.png" for file in stream.files]
        twice, times = Counter(self._names).most_common(1)[0]
        if times > 1:
            what = f"{times} images would have the mask {twice}"
            raise DataError(what, file=stream.path, remedy="rename them apart")
        super().__init__(stream, out, structures=structures)

    def _open_output(self) -> AtomicFolder:
        return AtomicFolder(self.path, self._names)

    def _begin(self) -> None:
        self._comment = PngImagePlugin.PngInfo()
        self._comment.add_text("Comment", self.describe())

    def _append(self, mask: UInt8[np.ndarray, "y x"]) -> None:
        Image.fromarray(mask).save(self._output.partial / self._names[self.count], pnginfo=self._comment)
