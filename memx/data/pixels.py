"""Checks that stand between a file's numbers and a Clip: every reader goes through them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from memx.errors import DataError

LARGEST = 4 * 2**30
"""Bytes of pixels, as 32-bit numbers, that a clip may have where it is held whole: for training and scoring."""


def unit_pixels(pixels: np.ndarray, file: Path, *, maximum: int = 255) -> np.ndarray:
    """Pixels of 0..`maximum` as float32 in [0, 1].

    Raises DataError for NaN or infinite pixels, and for values that are not on that scale.
    """
    if pixels.size == 0:
        raise DataError(f"has no pixels (shape {pixels.shape})", file=file, remedy="copy it again")
    if pixels.dtype.kind not in "biuf":
        raise DataError(f"pixels of type {pixels.dtype}", file=file, remedy=f"want grey values of 0..{maximum}")
    check_finite(pixels, file)
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > maximum:
        raise DataError(f"pixel values run from {low:g} to {high:g}", file=file, remedy=f"want 0..{maximum}")
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        raise DataError(
            f"pixel values run from {low:g} to {high:g}",
            file=file,
            remedy=f"want 0..{maximum}: multiply them by {maximum}",
        )
    return pixels.astype(np.float32) / np.float32(maximum)


def check_finite(pixels: np.ndarray, file: Path) -> None:
    """Raise DataError when a pixel is NaN or infinite, with the count and the first place."""
    if pixels.dtype.kind != "f":
        return
    wrong = ~np.isfinite(pixels)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{int(wrong.sum())} of {pixels.size} pixels are NaN or infinite, the first at {place}",
            file=file,
            remedy="write the file again from its source, or leave the case out",
        )


def check_fits(file: Path, frames: int, channels: int, size: tuple[int, int]) -> None:
    """Raise DataError for a clip of more than `LARGEST` bytes: 4 · t · c · y · x. `size` is (y, x)."""
    needed = 4 * frames * channels * size[0] * size[1]
    if needed > LARGEST:
        kind = "grey" if channels == 1 else "colour"
        raise DataError(
            f"{frames} {kind} frames of {size[0]} × {size[1]} pixels (y × x) are {needed / 2**30:.2g} GiB of 32-bit "
            f"numbers, and a clip for training or scoring is held whole, in {LARGEST / 2**30:.2g} GiB at most",
            file=file,
            remedy="cut it into shorter clips, or write its frames smaller (`memx predict` reads clips of any length)",
        )


def label_values(labels: np.ndarray, file: Path, allowed: Collection[int]) -> np.ndarray:
    """Labels as uint8, each one of `allowed`, which are of 0..255.

    Raises DataError naming the values found and the values allowed.
    """
    if labels.dtype.kind not in "biuf":
        raise DataError(
            f"labels of type {labels.dtype}", file=file, remedy=f"want whole numbers out of {_words(allowed)}"
        )
    check_finite(labels, file)
    found = np.unique(labels)
    wrong = [value for value in found.tolist() if value not in set(allowed)]
    broken = [value for value in wrong if value != round(value)]
    if broken:
        raise DataError(
            f"labels are not whole numbers, such as {broken[0]!r}",
            file=file,
            remedy=f"write the mask as integers, in NIfTI with scl_slope 1 and scl_inter 0 ({_words(allowed)} allowed)",
        )
    if wrong:
        hint = "write 1 where 255 stands" if wrong == [255] else "map the others to one of these"
        raise DataError(
            f"label values {_words(found.tolist())} found, {_words(allowed)} allowed", file=file, remedy=hint
        )
    return labels.astype(np.uint8)


def same_size(image: tuple[int, ...], mask: tuple[int, ...], image_file: Path, mask_file: Path) -> None:
    """Raise DataError when a mask has another size than its image. Shapes are (t, y, x) or (y, x)."""
    if image != mask:
        raise DataError(
            f"the mask is {_size(mask)}, its image {image_file.name} is {_size(image)}",
            file=mask_file,
            remedy="export the mask again at the image's size",
        )


def _size(shape: tuple[int, ...]) -> str:
    *frames, y, x = shape
    return f"{y} × {x} pixels (y × x)" + (f" in {frames[0]} frames" if frames else "")


def _words(values: Collection[float]) -> str:
    ordered = sorted(values)
    if len(ordered) > 3 and ordered == list(range(int(ordered[0]), int(ordered[0]) + len(ordered))):
        return f"{ordered[0]}..{ordered[-1]}"
    return ", ".join(f"{value:g}" for value in ordered[:8]) + (
        f" and {len(ordered) - 8} more" if len(ordered) > 8 else ""
    )
