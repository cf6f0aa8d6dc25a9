"""A folder of images is one clip, its frames in the natural order of their names (frame2 before frame10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from memx.data.streams.base import Facts, Stream, sizes
from memx.data.streams.intensity import Intensity
from memx.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class ImagesStream(Stream):
    """The images of a folder. `files` are its frames; hidden files and files that are no images are passed over."""

    kind = "images"

    def __init__(self, path: Path, *, colour: bool = False):
        self.files = image_files(path)
        if not self.files:
            raise DataError(
                f"{path}: no image in this folder; a clip's frames are {', '.join(sorted(IMAGE_SUFFIXES))} files"
            )
        headers = [_header(file) for file in self.files]
        (size, _), first = headers[0], self.files[0]
        for file, (other, _) in zip(self.files, headers, strict=True):
            if other != size:
                raise DataError(
                    f"{path}: the images of a clip have one size, but {first.name} is {sizes(size)} and {file.name} is "
                    f"{sizes(other)} pixels"
                )
        modes = {mode for _, mode in headers}
        self._eight_bit = modes <= _EIGHT_BIT_MODES
        coloured = not modes <= _GREY_MODES
        note = "images carry no millimetre spacing"
        super().__init__(path, Facts(size, len(self.files), spacing_note=note, coloured=coloured), colour=colour)

    def declared_intensity(self) -> Intensity | None:
        return Intensity.of_bits(8) if self._eight_bit else None

    def stored_frames(self) -> Iterator[np.ndarray]:
        for file in self.files:
            try:
                with Image.open(file) as image:
                    frame = _pixels(image)
            except _UNREADABLE as error:
                raise DataError(f"{file}: the image cannot be decoded, it is truncated or damaged ({error})") from None
            yield frame


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, in natural order, hidden ones left out."""
    files = (
        item for item in folder.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES and not item.name.startswith(".")
    )
    return sorted((file for file in files if file.is_file()), key=natural_key)


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sorts runs of digits by their number: `frame2.png` before `frame10.png`."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def _header(file: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(file) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise DataError(f"{file}: holds several pages; a folder of images has one frame a file")
            return (image.height, image.width), image.mode
    except UnidentifiedImageError:
        raise DataError(f"{file}: not a readable image") from None
    except _UNREADABLE as error:
        raise DataError(f"{file}: not a readable image ({error})") from None


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode == "LA":
        return np.asarray(image.getchannel("L"))
    return np.asarray(image if image.mode in _GREY_MODES else image.convert("RGB"))
