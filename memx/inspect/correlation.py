"""How alike the gradients of two gates are: aligned on the axes they share, then cosine and Pearson's r."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def aligned(a: Tensor, a_axes: str, b: Tensor, b_axes: str) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Two gradients as vectors over the axes that both have, each summed over those that the other has not.

    The sum is the gradient to a gate that is shared over these axes, by the chain rule.
    """
    shared = [letter for letter in a_axes.split() if letter in b_axes.split()]
    return _over(a, a_axes, shared).flatten(), _over(b, b_axes, shared).flatten()


def _over(x: Tensor, axes: str, kept: Sequence[str]) -> Tensor:
    """`x` summed over all axes but `kept`, which come in that order."""
    letters = axes.split()
    gone = [place for place, letter in enumerate(letters) if letter not in kept]
    x = x.sum(gone) if gone else x
    left = [letter for letter in letters if letter in kept]
    return x.permute([left.index(letter) for letter in kept])


def cosine(a: Float[Tensor, " m"], b: Float[Tensor, " m"]) -> float:
    """Σ a b / (|a| |b|); NaN where one of the two is zero or not finite."""
    a, b = a.double(), b.double()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if 0 < scale < math.inf else math.nan


def pearson(a: Float[Tensor, " m"], b: Float[Tensor, " m"]) -> float:
    """The cosine of a − mean a and b − mean b; NaN for fewer than three entries and where one of them is constant."""
    a, b = a.double(), b.double()
    if a.numel() < 3 or _constant(a) or _constant(b):
        return math.nan
    return cosine(a - a.mean(), b - b.mean())


def correlation_matrix(columns: Float[np.ndarray, "s c"]) -> Float[np.ndarray, "c c"]:
    """Pearson's r of every pair of columns over the rows; NaN where a column is constant."""
    x = columns - columns.mean(axis=0)
    norm = np.linalg.norm(x, axis=0)
    scale = np.abs(columns).max(axis=0, initial=0)
    norm = np.where(norm > 1e-12 * scale * math.sqrt(len(columns)), norm, np.nan)
    return np.clip((x / norm).T @ (x / norm), -1, 1)


def _constant(x: Float[Tensor, " m"]) -> bool:
    """Whether all that tells the entries apart is rounding."""
    return bool((x - x.mean()).abs().max() <= 1e-12 * x.abs().max())


@dataclass(frozen=True)
class Alike:
    """Pearson's r and cosine of two gradients: frame by frame (t), and of all frames as one vector."""

    pearson: Float[np.ndarray, " t"]
    cosine: Float[np.ndarray, " t"]
    pearson_all: float
    cosine_all: float


def alike(first: Sequence[Tensor | None], first_axes: str, second: Sequence[Tensor | None], second_axes: str) -> Alike:
    """How alike the gradients to two gates are, given one of each a frame; None where a frame did not meet the gate.

    Such frames are left out, and so are those at which one of the two is zero throughout: there that gate does nothing
    to the loss, as what is kept of an empty state, or is a constant. They are NaN in the figures by frame.
    """
    r, cosines = np.full((2, len(first)), np.nan)
    live = []
    for frame, (a, b) in enumerate(zip(first, second, strict=True)):
        if a is None or b is None:
            continue
        a, b = aligned(a.detach().double().cpu(), first_axes, b.detach().double().cpu(), second_axes)
        if a.any() and b.any():
            r[frame], cosines[frame] = pearson(a, b), cosine(a, b)
            live.append((a, b))
    if not live:
        return Alike(r, cosines, math.nan, math.nan)
    a, b = (torch.cat(side) for side in zip(*live, strict=True))
    return Alike(r, cosines, pearson(a, b), cosine(a, b))
