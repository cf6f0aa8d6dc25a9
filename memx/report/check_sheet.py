"""The sheet of `memx data check`: two frames of each clip with the contours of their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

from memx.data.check.thumbnail import Thumbnail
from memx.report.legend import COLOURS, INK, PAPER, Colour, Picture, captioned, font, strip
from memx.report.overlay import paint

_SIDE = 360  # pixels of a frame's longer side
_GAP, _MARGIN, _PAIR = 26, 34, 3
_HEAD, _CAPTION, _LETTERS = 118, 36, 18
_LEGEND, _LEAST = 760, 200  # pixels that the legend takes, and below which it is left away
_SOFT = 1.2  # standard deviation in mask pixels that takes the staircase out of an enlarged mask
_MUTED: Colour = (140, 149, 160)
_WRONG: Colour = (255, 107, 94)


def sheet(
    thumbnails: Sequence[Thumbnail], *, title: str, subtitle: str, structures: Mapping[str, int], columns: int = 0
) -> Picture:
    """All thumbnails in a grid, each a pair of frames in square pixels, RGB uint8.

    structures  names and label values, for the legend and the contours
    columns     pairs in a row; 0: what makes the sheet about half as wide again as high

    Clips with an error have a red frame and name. Raises ValueError without thumbnails.
    """
    if not thumbnails:
        raise ValueError("sheet: there are no thumbnails")
    pairs = [[_cell(t, place, structures) for place in range(len(t.frames))] for t in thumbnails]
    height = max(cell.height for pair in pairs for cell in pair)
    width = max(_span(pair) for pair in pairs)
    columns = min(columns or _columns(len(pairs), width + _GAP, height + _CAPTION + _GAP), len(pairs))
    rows = -(-len(pairs) // columns)
    size = 2 * _MARGIN + columns * (width + _GAP) - _GAP, _HEAD + rows * (height + _CAPTION + _GAP) - _GAP + _MARGIN
    image = Image.new("RGB", size, PAPER)
    _head(image, title, subtitle, structures)
    for index, (item, pair) in enumerate(zip(thumbnails, pairs, strict=True)):
        left = _MARGIN + index % columns * (width + _GAP)
        bottom = _HEAD + index // columns * (height + _CAPTION + _GAP) + height
        _draw_pair(image, item, pair, left + (width - _span(pair)) // 2, bottom)
    return np.asarray(image)


def _head(image: Image.Image, title: str, subtitle: str, structures: Mapping[str, int]) -> None:
    """The data set's name and size on the left, the legend on the right, below them where it would not fit."""
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, 46), title, INK, font(30), anchor="lm")
    draw.text((_MARGIN, 82), subtitle, _MUTED, font(17), anchor="lm")
    taken = max(font(30).getlength(title), font(17).getlength(subtitle)) + 2 * _MARGIN
    room = image.width - int(taken)
    if structures and room > _LEAST:
        legend = Image.fromarray(strip(min(room, _LEGEND), structures, COLOURS, ""))
        image.paste(legend, (image.width - legend.width - _MARGIN + 17, 82 - legend.height // 2))


def _cell(item: Thumbnail, place: int, structures: Mapping[str, int]) -> Image.Image:
    """One frame in square pixels with its contours, its longer side `_SIDE`."""
    labels, (sy, sx) = item.labels[place], item.spacing or (1.0, 1.0)
    extent = labels.shape[0] * sy, labels.shape[1] * sx
    height, width = (max(1, round(_SIDE * side / max(extent))) for side in extent)
    frame = interpolate(
        torch.from_numpy(item.frames[place])[None], size=(height, width), mode="bilinear", antialias=True
    )[0].clamp(0, 1)
    mask = _smoothly(labels, (height, width))
    drawn = {name: value for name, value in structures.items() if (mask == value).any()}
    picture = paint(frame, mask, structures=drawn, min_side=min(height, width))
    return Image.fromarray(captioned(picture, item.captions[place]))


def _smoothly(labels: UInt8[np.ndarray, "y x"], size: tuple[int, int]) -> UInt8[np.ndarray, "y2 x2"]:
    """Labels at another size: each pixel takes the label whose softened indicator is largest there."""
    values = np.unique(labels)
    soft = np.stack([gaussian_filter((labels == value).astype(np.float32), _SOFT) for value in values])
    enlarged = interpolate(torch.from_numpy(soft)[None], size=size, mode="bilinear", antialias=True)[0]
    return values[enlarged.argmax(0).numpy()]


def _draw_pair(image: Image.Image, item: Thumbnail, pair: list[Image.Image], left: int, bottom: int) -> None:
    """The frames side by side on one line, the clip's name and split below."""
    draw = ImageDraw.Draw(image)
    x = left
    for cell in pair:
        image.paste(cell, (x, bottom - cell.height))
        x += cell.width + _PAIR
    right = left + _span(pair)
    if item.wrong:
        top = bottom - max(cell.height for cell in pair)
        draw.rectangle((left - 4, top - 4, right + 3, bottom + 3), outline=_WRONG, width=4)
    letters, split = font(_LETTERS), item.case.split
    room = right - left - letters.getlength(split) - _LETTERS
    name = _cut(item.case.id, room)
    draw.text((left, bottom + 21), name, _WRONG if item.wrong else INK, letters, anchor="lm")
    draw.text((right, bottom + 21), split, _MUTED, letters, anchor="rm")


def _span(pair: Sequence[Image.Image]) -> int:
    return sum(cell.width for cell in pair) + _PAIR * (len(pair) - 1)


def _cut(text: str, room: float) -> str:
    """The text with its middle left out where it does not fit: names differ at their ends."""
    keep = len(text)
    shown = text
    while keep > 4 and font(_LETTERS).getlength(shown) > room:
        keep -= 1
        shown = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
    return shown


def _columns(count: int, width: int, height: int) -> int:
    """So many columns that the grid is about half as wide again as high, with no row that is mostly empty."""
    return max(
        range(1, count + 1),
        key=lambda n: (
            -abs(math.log((n * width) / (-(-count // n) * height) / 1.5)) - (-(-count // n) * n - count) / count
        ),
    )
