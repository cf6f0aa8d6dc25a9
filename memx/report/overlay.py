"""Masks drawn over frames: a thin smooth contour and a light tint in one fixed colour a structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage, special
from torch import Tensor

from memx.report.legend import COLOURS, PAPER, Colour, Picture, captioned, colour_of, strip
from memx.report.overlay_video import OverlayVideo

__all__ = ["Layer", "OverlayVideo", "contact_sheet", "draw_overlay", "paint", "paint_layers"]

Frame = Float[Tensor, "c y x"] | Float[np.ndarray, "c y x"]
Mask = UInt8[np.ndarray, "y x"]

_HALO = 0.35  # darkness of the rim that sets a line off from bright tissue
_SMOOTH = 1.2  # standard deviation in mask pixels that takes the staircase out of an outline


@dataclass(frozen=True, eq=False)
class Layer:
    """Masks of one origin, such as the model's or the truth, and how they are drawn; as the arguments of `paint`."""

    mask: Mask
    structures: Mapping[str, int]
    colours: Sequence[Colour] = COLOURS
    alpha: float = 0.12


def draw_overlay(
    frame: Frame,
    mask: Mask,
    *,
    structures: Mapping[str, int],
    colours: Sequence[Colour] = COLOURS,
    alpha: float = 0.12,
    caption: str = "",
    min_side: int = 480,
) -> Picture:
    """A frame with the contours of its mask, and below it a caption and a legend; RGB uint8.

    frame        (c, y, x) in [0, 1], c 1 or 3
    mask         (y, x) label values; 0 and labels that `structures` does not name are not drawn
    structures   names and label values, e.g. `{"left ventricle": 1, "myocardium": 2}`
    colours      red, green and blue of label 1, 2, …; larger labels start over
    alpha        strength of the tint inside a contour, 0 to 1
    caption      e.g. `frame 12 · ED`; long ones are cut to their room
    min_side     frames whose shorter side is smaller are enlarged by a whole number, so that the contour stays fine

    The contour is the half level of the smoothed indicator of a label, drawn as an anti-aliased line of constant width.
    The size of the picture depends on the frame's size, `structures` and whether there is a caption or legend at all.

    Raises ValueError when frame and mask are not of one size.
    """
    picture = paint(frame, mask, structures=structures, colours=colours, alpha=alpha, min_side=min_side)
    return np.concatenate([picture, strip(picture.shape[1], structures, colours, caption)])


def paint(
    frame: Frame,
    mask: Mask,
    *,
    structures: Mapping[str, int],
    colours: Sequence[Colour] = COLOURS,
    alpha: float = 0.12,
    min_side: int = 480,
) -> Picture:
    """The enlarged frame with tints and contours and nothing else, RGB uint8; arguments as in `draw_overlay`."""
    return paint_layers(frame, [Layer(mask, structures, colours, alpha)], min_side=min_side)


def paint_layers(frame: Frame, layers: Sequence[Layer], *, min_side: int = 480) -> Picture:
    """The enlarged frame with the tints and contours of several masks, the last on top; RGB uint8."""
    pixels = np.asarray(frame, np.float32)
    for labels in (np.asarray(layer.mask) for layer in layers):
        if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or labels.shape != pixels.shape[1:]:
            raise ValueError(f"frame and mask: want (1 or 3, y, x) and (y, x), got {pixels.shape} and {labels.shape}")
    scale = _scale(pixels.shape[1:], min_side)
    picture = _enlarge(pixels, scale)
    for layer in layers:
        _draw(layer, picture, scale)
    return (picture * 255 + 0.5).astype(np.uint8)


def contact_sheet(
    frames: Sequence[Frame],
    masks: Sequence[Mask],
    columns: int,
    *,
    structures: Mapping[str, int],
    captions: Sequence[str] = (),
    colours: Sequence[Colour] = COLOURS,
    alpha: float = 0.12,
    min_side: int = 320,
) -> Picture:
    """Several frames of one size with their contours in a grid, captions in the corners and one legend below.

    Raises ValueError when there are not as many masks as frames, or none.
    """
    if not frames or len(frames) != len(masks) or columns < 1:
        raise ValueError(f"contact_sheet: {len(frames)} frames, {len(masks)} masks in {columns} columns")
    if captions and len(captions) != len(frames):
        raise ValueError(f"contact_sheet: {len(frames)} frames and {len(captions)} captions")
    tiles = []
    for frame, mask, caption in zip(frames, masks, captions or [""] * len(frames), strict=True):
        tile = paint(frame, mask, structures=structures, colours=colours, alpha=alpha, min_side=min_side)
        tiles.append(captioned(tile, caption))
    height, width = tiles[0].shape[:2]
    gap = max(2, width // 120)
    rows, columns = -(-len(tiles) // columns), min(columns, len(tiles))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), PAPER, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return np.concatenate([sheet, strip(sheet.shape[1], structures, colours, "")])


def _draw(layer: Layer, picture: Float[np.ndarray, "y x 3"], scale: int) -> None:
    """Draw a layer into a picture that is `scale` times its mask's size."""
    line = max(1.0, min(picture.shape[:2]) / 320)
    for label in sorted(layer.structures.values(), reverse=True):
        inside = np.asarray(layer.mask) == label
        if not inside.any():
            continue
        near = _neighbourhood(inside)
        part = picture[tuple(slice(axis.start * scale, axis.stop * scale) for axis in near)]
        distance = _signed_distance(inside[near], scale)
        colour = np.array(colour_of(label, layer.colours), np.float32) / 255
        _blend(part, colour, layer.alpha * np.clip(distance + 0.5, 0, 1))
        _blend(part, np.zeros(3, np.float32), _HALO * np.clip(line / 2 + 1.5 - np.abs(distance), 0, 1))
        _blend(part, colour, np.clip(line / 2 + 0.5 - np.abs(distance), 0, 1))


def _scale(size: tuple[int, ...], min_side: int) -> int:
    return max(1, -(-min_side // min(size)))


def _enlarge(pixels: np.ndarray, scale: int) -> np.ndarray:
    """(c, y, x) in [0, 1] to (y, x, 3), bicubic."""
    channels = [_bicubic(channel, scale).clip(0, 1) for channel in pixels]
    return np.stack(channels if len(channels) == 3 else channels * 3, axis=-1)


def _bicubic(plane: np.ndarray, scale: int) -> np.ndarray:
    height, width = plane.shape
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def _neighbourhood(inside: np.ndarray) -> tuple[slice, slice]:
    """The box of a label with room for the smoothing and the line around it."""
    room = int(np.ceil(4 * _SMOOTH)) + 4
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return slice(max(0, rows[0] - room), min(inside.shape[0], rows[-1] + 1 + room)), slice(
        max(0, columns[0] - room), min(inside.shape[1], columns[-1] + 1 + room)
    )


def _signed_distance(inside: np.ndarray, scale: int) -> np.ndarray:
    """Distance to a label's smooth outline in enlarged pixels, positive inside.

    The indicator is smoothed by a Gaussian; where that carries a pixel's centre over 1/2 (specks, thin walls) its level
    is reflected about 1/2, so that every centre stays on its own side. The level is enlarged, read as a normal CDF, and
    divided by its slope, which gives unit gradient at the outline.
    """
    level = ndimage.gaussian_filter(inside.astype(np.float32), _SMOOTH, mode="nearest")
    level = 0.5 + np.where(inside, 1, -1) * np.abs(level - 0.5)
    field = special.ndtri(_bicubic(level, scale).clip(1e-3, 1 - 1e-3))
    slope = np.hypot(*np.gradient(field)) if min(field.shape) > 1 else np.ones_like(field)
    return field / np.maximum(slope, 0.4 / (_SMOOTH * scale))


def _blend(picture: np.ndarray, colour: np.ndarray, weight: np.ndarray) -> None:
    picture += weight[..., None] * (colour - picture)
