"""Point scatterers fixed in the tissue and carried along by its motion.

Every tissue is a ribbon between two moving curves. A scatterer keeps its place (q along the ribbon, w across it) and
its complex amplitude for ever, so that the speckle of one frame is the moved and deformed speckle of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.ndimage import map_coordinates

from memx.data.phantom.anatomy import Curve

Strength = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Ribbon:
    """A tissue between two curves.

    level      mean echo in decibels relative to myocardium
    clumps     standard deviation of slow variations of the level, in decibels, and `grain`, their size in millimetres
    facing     decibels lost where the sound runs along the ribbon rather than across it
    smooth     share of the echo that adds up in phase: 0 speckle, 1 a mirror
    strength   amplitude as a function of (q, w) in [0, 1], or None for 1
    density    scatterers a square millimetre
    """

    inner: Curve
    outer: Curve
    level: float
    clumps: float = 2.0
    grain: float = 5.0
    facing: float = 0.0
    smooth: float = 0.0
    strength: Strength | None = None
    density: float = 3.0


@dataclass(frozen=True)
class Scatterers:
    """All scatterers of a view: node, share of the way to the next node, share of the way across, amplitude."""

    inner: Curve
    outer: Curve
    node: Int[np.ndarray, " p"]
    along: Float[np.ndarray, " p"]
    across: Float[np.ndarray, " p"]
    amplitude: Complex[np.ndarray, " p"]

    def positions(self, frame: int) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Where they are in one frame: x and y in millimetres."""
        inner, outer = self.inner[frame], self.outer[frame]
        a = inner[self.node] + self.along[:, None] * (inner[self.node + 1] - inner[self.node])
        b = outer[self.node] + self.along[:, None] * (outer[self.node + 1] - outer[self.node])
        place = a + self.across[:, None] * (b - a)
        return place[:, 0], place[:, 1]


def scatter(ribbons: list[Ribbon], rng: np.random.Generator) -> Scatterers:
    """Fill ribbons with scatterers, evenly over their area in the first frame."""
    parts, first = [], 0
    for ribbon in ribbons:
        parts.append(_fill(ribbon, first, rng))
        first += ribbon.inner.shape[1]
    node, along, across, amplitude = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scatterers(
        inner=np.concatenate([r.inner for r in ribbons], axis=1).astype(np.float32),
        outer=np.concatenate([r.outer for r in ribbons], axis=1).astype(np.float32),
        node=node,
        along=along.astype(np.float32),
        across=across.astype(np.float32),
        amplitude=amplitude.astype(np.complex64),
    )


def _fill(ribbon: Ribbon, first: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    inner, outer = ribbon.inner[0], ribbon.outer[0]
    nodes = len(inner)
    step = np.linalg.norm(np.diff((inner + outer) / 2, axis=0), axis=1)
    thick = np.linalg.norm(outer - inner, axis=1)
    area = step * np.maximum((thick[1:] + thick[:-1]) / 2, 0.5)
    edges = np.concatenate(([0.0], np.cumsum(area)))
    count = max(8, int(ribbon.density * edges[-1]))
    draw = rng.random(count) * edges[-1]
    node = np.clip(np.searchsorted(edges, draw, side="right") - 1, 0, nodes - 2)
    along = (draw - edges[node]) / np.maximum(area[node], 1e-9)
    across = rng.random(count)
    q = (node + along) / (nodes - 1)
    level = ribbon.level + ribbon.clumps * _slow(q, across, (step.sum(), thick.mean()), ribbon.grain, rng)
    if ribbon.facing:
        chord = (outer - inner)[node]
        beam = ((inner + outer) / 2)[node]
        cosine = np.abs(np.sum(chord * beam, axis=1)) / np.maximum(
            np.linalg.norm(chord, axis=1) * np.linalg.norm(beam, axis=1), 1e-9
        )
        level = level - ribbon.facing * (1 - cosine) ** 1.5
    amplitude = 10 ** (level / 20)
    if ribbon.strength is not None:
        amplitude = amplitude * ribbon.strength(q, across)
    phase = rng.normal(size=count) + 1j * rng.normal(size=count)
    amplitude = amplitude * (ribbon.smooth * 1.4 + (1 - ribbon.smooth) * phase)
    return first + node, along, across, amplitude / np.sqrt(ribbon.density)


def _slow(q: np.ndarray, w: np.ndarray, extent: tuple[float, float], grain: float, rng: np.random.Generator):
    """Unit Gaussian noise that varies over `grain` millimetres, sampled at (q, w)."""
    shape = [max(3, int(np.ceil(e / grain)) + 2) for e in extent]
    grid = rng.normal(size=shape)
    return 1.3 * map_coordinates(grid, (q * (shape[0] - 1), w * (shape[1] - 1)), order=1, mode="nearest")
