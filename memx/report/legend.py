"""The words on a picture: captions, and a legend that names each structure's colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Picture = UInt8[np.ndarray, "y x 3"]

# After Okabe and Ito, whose colours stay apart for every kind of colour vision; the third is lightened for dark
# pictures. Label 1 has the first.
COLOURS: tuple[Colour, ...] = (
    (240, 228, 66),
    (86, 180, 233),
    (230, 120, 50),
    (204, 121, 167),
    (0, 158, 115),
    (230, 159, 0),
    (0, 114, 178),
)
INK = (226, 230, 236)
PAPER = (13, 16, 21)
_GAP = 1.2  # between two names of the legend, in font sizes
_WIDEST_CAPTION = "frame 0000 · ED"


def colour_of(label: int, colours: Sequence[Colour] = COLOURS) -> Colour:
    """The fixed colour of a label value: red, green, blue in 0 … 255."""
    return colours[(label - 1) % len(colours)]


def strip(width: int, structures: Mapping[str, int], colours: Sequence[Colour], caption: str) -> Picture:
    """A caption on the left and a legend on the right, or in two rows where they do not fit side by side.

    Returns RGB (y, x, 3) of the given width; without caption and structures it has no rows.
    """
    if not structures and not caption:
        return np.zeros((0, width, 3), np.uint8)
    size = int(np.clip(width / 38, 11, 26))
    room = font(size).getlength(_WIDEST_CAPTION)
    pad, row = size, round(2.1 * size)
    while size > 7 and _legend_width(structures, size) > width - 2 * pad:
        size -= 1
    legend = _legend_width(structures, size)
    rows = 2 if structures and caption and legend + room + 3 * pad > width else 1
    image = Image.new("RGB", (width, rows * row), PAPER)
    draw = ImageDraw.Draw(image)
    letters = font(size)
    limit = width - 2 * pad - (legend + pad if rows == 1 and structures else 0)
    draw.text((pad, row / 2), _cut(caption, letters, limit), INK, letters, anchor="lm")
    x = width - pad - legend if rows == 1 else pad
    y = (rows - 0.5) * row
    for name, label in structures.items():
        _dot(image, x + 0.35 * size, y, 0.33 * size, colour_of(label, colours))
        draw.text((x + size, y), name, INK, letters, anchor="lm")
        x += letters.getlength(name) + (1 + _GAP) * size
    return np.asarray(image)


def captioned(picture: Picture, caption: str) -> Picture:
    """The picture with a caption in its lower left corner, on a dark translucent plate."""
    if not caption:
        return picture
    size = int(np.clip(picture.shape[1] / 24, 10, 22))
    letters = font(size)
    pad = size // 2
    text = _cut(caption, letters, picture.shape[1] - 4 * pad)
    width, height = round(letters.getlength(text)) + 2 * pad, size + 2 * pad
    top, left = picture.shape[0] - height - pad, pad
    image = Image.fromarray(picture)
    plate = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), radius=2 * height, fill=170)
    image.paste(PAPER, (left, top), plate.resize((width, height), Image.Resampling.LANCZOS))
    ImageDraw.Draw(image).text((left + pad, top + height / 2), text, INK, letters, anchor="lm")
    return np.asarray(image)


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The letters of every picture, `size` pixels high."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _legend_width(structures: Mapping[str, int], size: int) -> float:
    """From the first dot to the end of the last name."""
    names = sum(font(size).getlength(name) for name in structures)
    return names + size * len(structures) + _GAP * size * max(0, len(structures) - 1)


def _cut(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"


def _dot(image: Image.Image, x: float, y: float, radius: float, colour: Colour) -> None:
    """An anti-aliased disc."""
    side = int(np.ceil(2 * radius)) + 2
    left, top = int(x - side / 2), int(y - side / 2)
    rows, columns = np.mgrid[top : top + side, left : left + side]
    cover = np.clip(radius + 0.5 - np.hypot(rows + 0.5 - y, columns + 0.5 - x), 0, 1)
    image.paste(colour, (left, top), Image.fromarray((255 * cover).astype(np.uint8)))
