"""The left ventricle as a solid, and the motion that empties it by exactly the volume wanted.

Its cross-sections are made of four quarter-ellipses, one for each pair of neighbouring walls. A disc at height s then
has the area π/4 · (septal + lateral) · (inferior + anterior), and the two apical views are two cuts at right angles.
With half-widths r(s, t) = r₀(s) · (1 − κ(t) · w(s)) on each of the four sides and a long axis L(t), the volume

    V = π/4 · L ∫ (r_septal + r_lateral)(r_inferior + r_anterior) ds

is a quadratic in κ, and κ(t) is its smaller root for the volume at t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

ViewName = Literal["2CH", "4CH"]
WALLS: dict[ViewName, tuple[str, str]] = {"2CH": ("inferior", "anterior"), "4CH": ("septal", "lateral")}  # left, right


@dataclass(frozen=True)
class Wall:
    """One of the four walls of the ventricle.

    reach       half-width on this side, as a share of the mean half-width of its view
    thickness   millimetres at end diastole, half-way up
    weak_at     height (0 apex, 1 base) of the segment that moves less
    weak_span   its extent, as a standard deviation of height
    weakness    how much less it moves there: 0 as the rest, 1 not at all, negative more than the rest
    """

    reach: float
    thickness: float
    weak_at: float
    weak_span: float
    weakness: float

    def motion(self, s: np.ndarray) -> np.ndarray:
        """The share of the common inward motion that the wall makes at the heights s."""
        return 1 - self.weakness * np.exp(-0.5 * ((s - self.weak_at) / self.weak_span) ** 2)


@dataclass(frozen=True)
class Heart:
    """The left ventricle as a solid at end diastole, and how it shortens.

    length      long axis in millimetres
    flattening  half-width of the 2CH view over that of the 4CH view
    widest      height of the widest disc (0 apex, 1 base)
    roundness   exponent of the apex: 2 an ellipsoid, more a blunter one
    base        width of the base over the widest
    shortening  of the long axis from ED to ES, as a share
    """

    length: float
    flattening: float
    widest: float
    roundness: float
    base: float
    shortening: float
    walls: dict[str, Wall]


def profile(heart: Heart, s: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Half-width at height s over the widest: a blunt apex, the widest disc, a narrower base."""
    below = np.clip(1 - s / heart.widest, 0.0, 1.0) ** heart.roundness
    above = np.clip((s - heart.widest) / (1 - heart.widest), 0.0, 1.0) ** 2
    return np.sqrt(1 - below) * (1 - (1 - heart.base) * above)


def half_width(heart: Heart, edv: float) -> float:
    """The mean half-width of the widest disc in the 4CH view, in millimetres, that gives `edv` millilitres."""
    return float(np.sqrt(edv * 1000 / (np.pi / 4 * heart.length * heart.flattening * _moments(heart)[0])))


def _moments(heart: Heart) -> tuple[float, float, float]:
    """∫ profile² · (sum of the two sides of one view) · (of the other) ds, expanded in powers of −κ."""
    s = (np.arange(512) + 0.5) / 512
    square = profile(heart, s) ** 2
    (a0, a1), (b0, b1) = (
        (
            sum(heart.walls[w].reach for w in walls) * np.ones_like(s),
            np.sum([heart.walls[w].reach * heart.walls[w].motion(s) for w in walls], axis=0),
        )
        for walls in WALLS.values()
    )
    c0, c1, c2 = (float(np.mean(square * term)) for term in (a0 * b0, a0 * b1 + a1 * b0, a1 * b1))
    return c0, c1, c2


def inward(
    heart: Heart, edv: float, esv: float, emptied: Float[np.ndarray, " t"]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """κ(t), the long axis in millimetres and the volume in millilitres, for an emptying between 0 (ED) and 1 (ES)."""
    volume = edv - (edv - esv) * emptied
    length = heart.length * (1 - heart.shortening * emptied)
    c0, c1, c2 = _moments(heart)
    wanted = volume / edv * c0 * heart.length / length
    kappa = (c1 - np.sqrt(np.maximum(c1 * c1 - 4 * c2 * (c0 - wanted), 0.0))) / (2 * c2)
    return kappa, length, volume
