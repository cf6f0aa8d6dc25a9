"""A folder of images is one clip, its frames in the natural order of their names (frame2 before frame10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from memx.data.images import EIGHT_BIT_MODES, GREY_MODES, IMAGE_SUFFIXES, image_files, open_image, read_image
from memx.data.streams.base import Facts, Stream, sizes
from memx.data.streams.intensity import Intensity
from memx.errors import DataError


class ImagesStream(Stream):
    """The images of a folder. `files` are its frames; hidden files and files that are no images are passed over."""

    kind = "images"

    def __init__(self, path: Path, *, colour: bool = False):
        self.files = image_files(path)
        if not self.files:
            raise DataError(
                "no image in this folder",
                file=path,
                remedy=f"a clip's frames are {', '.join(sorted(IMAGE_SUFFIXES))} files",
            )
        headers = [_header(file) for file in self.files]
        (size, _), first = headers[0], self.files[0]
        for file, (other, _) in zip(self.files, headers, strict=True):
            if other != size:
                raise DataError(
                    f"this frame is {sizes(other)} pixels (x × y), the first, {first.name}, is {sizes(size)}",
                    file=file,
                    remedy="all frames of a clip have one size",
                )
        modes = {mode for _, mode in headers}
        self._eight_bit = modes <= EIGHT_BIT_MODES
        coloured = not modes <= GREY_MODES
        note = "images carry no millimetre spacing"
        super().__init__(path, Facts(size, len(self.files), spacing_note=note, coloured=coloured), colour=colour)

    def declared_intensity(self) -> Intensity | None:
        return Intensity.of_bits(8) if self._eight_bit else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        for file in self.files:
            yield read_image(file)


def _header(file: Path) -> tuple[tuple[int, int], str]:
    with open_image(file) as image:
        return (image.height, image.width), image.mode
