"""Distances between the surfaces of two masks: Hausdorff, its 95th percentile, and the average."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from memx.metrics.overlap import boolean_pair

Spacing = tuple[float, float]


@dataclass(frozen=True)
class SurfaceDistances:
    """Three distances between two surfaces, and the unit they are in.

    hd      Hausdorff distance: the largest distance from a border pixel of one mask to the border of the other
    hd95    the larger of the two directed 95th percentiles
    asd     average surface distance: the mean over the border pixels of both masks together
    unit    `mm` where the spacing is known, else `px`
    missed  one mask was empty, and all three are the diagonal of the field of view
    """

    hd: float
    hd95: float
    asd: float
    unit: str
    missed: bool = False


def surface(mask: ArrayLike) -> NDArray[np.bool_]:
    """The border pixels of a mask (y, x): those with one of their four neighbours outside it or outside the image."""
    solid = np.asarray(mask)
    if solid.dtype != np.bool_ or solid.ndim != 2:
        raise TypeError(f"mask is {solid.dtype} of shape {solid.shape}; wants a boolean mask (y, x)")
    framed = np.pad(solid, 1)
    inside = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return solid & ~inside


def surface_distances(pred: ArrayLike, truth: ArrayLike, spacing: Spacing | None) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks.

        d(P → T) = { min over t in ∂T of ‖p − t‖ : p in ∂P }
        HD = max of d(P → T) ∪ d(T → P);  HD95 = max(P₉₅ d(P → T), P₉₅ d(T → P));  ASD = mean of d(P → T) ∪ d(T → P)

    ∂ is `surface`, distances run between pixel centres, and percentiles interpolate linearly.

    pred, truth  boolean (y, x), of one shape
    spacing      (y, x) millimetres a pixel; None: the distances are in pixels, and their unit says so

    Both empty: None, not applicable. One empty: the diagonal of the field of view, marked `missed`, so that a structure
    that was not found costs something rather than leaving the mean.
    """
    first, second = boolean_pair(pred, truth)
    sampling = check_spacing(spacing)
    unit = "px" if spacing is None else "mm"
    seen = bool(first.any()), bool(second.any())
    if not any(seen):
        return None
    if not all(seen):
        diagonal = math.hypot(first.shape[0] * sampling[0], first.shape[1] * sampling[1])
        return SurfaceDistances(diagonal, diagonal, diagonal, unit, missed=True)
    box = ndimage.find_objects((first | second).astype(np.uint8))[0]
    near, far = surface(first[box]), surface(second[box])
    forth = np.asarray(ndimage.distance_transform_edt(~far, sampling=sampling))[near]
    back = np.asarray(ndimage.distance_transform_edt(~near, sampling=sampling))[far]
    return SurfaceDistances(
        hd=float(max(forth.max(), back.max())),
        hd95=float(max(np.percentile(forth, 95), np.percentile(back, 95))),
        asd=float(np.concatenate([forth, back]).mean()),
        unit=unit,
    )


def check_spacing(spacing: Spacing | None) -> Spacing:
    """The spacing (y, x) as two positive floats; (1, 1) for None. Raises ValueError for anything else."""
    if spacing is None:
        return 1.0, 1.0
    values = tuple(float(value) for value in spacing)
    if len(values) != 2 or not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"spacing is {tuple(spacing)}; wants (y, x) in millimetres a pixel, both positive, or None")
    return values[0], values[1]
