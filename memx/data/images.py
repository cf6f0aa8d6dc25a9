"""Images on disk as they are read everywhere: the order of their names, their modes, and their pixels."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from memx.data.access import denied, entries, is_file
from memx.data.pixels import check_finite
from memx.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})
# Pillow's own answer is OSError; the others are what its decoders stumble over in damaged headers
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, in natural order, hidden ones left out.

    Raises DataError for a folder that may not be read.
    """
    files = (
        item for item in entries(folder) if item.suffix.lower() in IMAGE_SUFFIXES and not item.name.startswith(".")
    )
    return sorted((file for file in files if is_file(file)), key=lambda file: natural_key(file.name))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts runs of digits by their number: `frame2.png` before `frame10.png`."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


@contextmanager
def open_image(file: Path) -> Iterator[Image.Image]:
    """An image whose pixels are decoded when the block asks for them.

    Raises DataError when the file is missing, cannot be decoded, or holds several pages.
    """
    try:
        with Image.open(file) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise DataError("holds several pages", file=file, remedy="a clip has one frame a file")
            yield image
    except FileNotFoundError:
        raise DataError("is missing", file=file, remedy="copy it again") from None
    except PermissionError:
        raise denied(file) from None
    except _UNREADABLE as error:
        raise DataError(
            f"cannot be read as an image ({error})", file=file, remedy="it is damaged or cut short: copy it again"
        ) from None


def read_image(file: Path) -> np.ndarray:
    """A frame's stored pixels, as `frame_pixels` gives them.

    Raises DataError for a file that cannot be read, and for NaN or infinite pixels.
    """
    with open_image(file) as image:
        pixels = frame_pixels(image)
    check_finite(pixels, file)
    return pixels


def frame_pixels(image: Image.Image) -> np.ndarray:
    """A frame's stored pixels, (y, x) where its mode is grey and (y, x, 3) of RGB where it is not; alpha is dropped.

    Eight-bit modes give 0..255, a bilevel image 0 and 255.
    """
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode == "LA":
        return np.asarray(image.getchannel("L"))
    return np.asarray(image if image.mode in GREY_MODES else image.convert("RGB"))
