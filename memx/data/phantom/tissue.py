"""What scatters the sound: point scatterers fixed in the tissue, carried along by its motion.

Every tissue is a ribbon between two moving curves. A scatterer keeps its place (q along the ribbon, w across it) and
its complex amplitude for ever, so that the speckle of one frame is the moved and deformed speckle of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.ndimage import map_coordinates

from memx.data.phantom.anatomy import Anatomy, Curve
from memx.data.phantom.population import Patient
from memx.data.phantom.solid import ViewName

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


def ribbons(patient: Patient, view: ViewName, anatomy: Anatomy, gaps: float) -> list[Ribbon]:
    """The tissues of an apical view. `gaps` (0 to 1) says how much of the wall drops out."""
    rng = patient.rng(30, int(view[0]))
    endo, epi, atrium = anatomy.endocardium, anatomy.epicardium, anatomy.atrium
    left, right = (rng.uniform(-3, 3) for _ in range(2))
    drop = _dropout(rng, gaps)
    sided = _sided(left, right)
    tissues = [
        Ribbon(endo, epi, 0.0, clumps=5.0, grain=8.0, facing=3.0, strength=lambda q, w: drop(q) * sided(q)),
        # Trabeculae and the bright blood–muscle interface, strongest where the sound meets it squarely.
        Ribbon(
            endo + 0.12 * (_inside(endo) - endo), endo + 0.25 * (epi - endo), 0.0, clumps=5.5, grain=4.0, facing=9.0,
            strength=lambda q, w: drop(q) * (1 - np.abs(2 * w - 1.1)).clip(0.1),
        ),
    ]  # fmt: skip
    tissues += _papillary(rng, endo)
    tissues += _surroundings(rng, patient, view, anatomy, sided)
    tissues += _chambers(rng, anatomy, atrium)
    for i, leaflet in enumerate(anatomy.leaflets):
        thick = leaflet + np.array([0.0, 1.3])
        level = (6.0, 3.0, -3.0, -6.0)[i] + rng.uniform(-5, 3)
        tissues.append(Ribbon(leaflet, thick, level, clumps=4.0, facing=8.0, smooth=0.3, density=6.0))
    tissues += _annulus(rng, anatomy)
    return tissues


def _annulus(rng: np.random.Generator, anatomy: Anatomy) -> list[Ribbon]:
    """The fibrous ring: bright knots where the valve hangs on the wall."""
    found = []
    for hinge in (0, -1):
        centre = (anatomy.endocardium[:, hinge] + 0.25 * (anatomy.epicardium - anatomy.endocardium)[:, hinge])[:, None]
        wide, high = rng.uniform(1.2, 2.4), rng.uniform(1.5, 4.0)
        u = np.linspace(-1, 1, 9)
        top = np.stack((wide * u, -high * np.sqrt(1 - u**2)), axis=-1)
        found.append(Ribbon(centre + top, centre + top * [1, -1], rng.uniform(-1, 6), clumps=2.0, grain=2.0))
    return found


def _inside(curve: Curve) -> Curve:
    """Points of the long axis, level with those of the curve."""
    return (curve + curve[:, ::-1]) / 2


def _outwards(curve: Curve, distance: float, centre: Curve | None = None) -> Curve:
    """A curve `distance` further out that hardly moves: its first frame, blown up."""
    still = curve[:1].mean(axis=0, keepdims=True)
    middle = still.mean(axis=1, keepdims=True) if centre is None else centre[:1]
    ray = still - middle
    far = still + distance * ray / np.maximum(np.linalg.norm(ray, axis=-1, keepdims=True), 1e-9)
    return far + 0.15 * (curve - still)


def _dropout(rng: np.random.Generator, gaps: float) -> Callable[[np.ndarray], np.ndarray]:
    """Stretches of wall that return little sound."""
    count = rng.poisson(1.6 * gaps)
    places, widths = rng.uniform(0.02, 0.98, count), rng.uniform(0.03, 0.09, count)
    depths = rng.uniform(0.5, 0.95, count)

    def factor(q: np.ndarray) -> np.ndarray:
        total = np.ones_like(q)
        for place, width, depth in zip(places, widths, depths, strict=True):
            total *= 1 - depth * np.exp(-0.5 * ((q - place) / width) ** 2)
        return total

    return factor


def _sided(left: float, right: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda q: 10 ** ((left + (right - left) * q) / 20)


def _papillary(rng: np.random.Generator, endo: Curve) -> list[Ribbon]:
    """Papillary muscles: bumps on the cavity's side of the wall. They count as cavity, as in the annotations."""
    muscles = []
    for side in (0, 1):
        if rng.random() < 0.55:
            start = int(rng.integers(34, 52))
            part = slice(start, start + int(rng.integers(8, 15)))
            wall = endo[:, part] if side == 0 else endo[:, ::-1][:, part]
            axis = _inside(endo)[:, part]
            reach = rng.uniform(0.16, 0.3) * np.sin(np.linspace(0, np.pi, wall.shape[1])) ** 0.7
            bump = wall + reach[:, None] * (axis - wall)
            muscles.append(Ribbon(wall, bump, rng.uniform(-9, -2), clumps=3.0, grain=3.0))
    return muscles


def _chambers(rng: np.random.Generator, anatomy: Anatomy, atrium: Curve) -> list[Ribbon]:
    """The atrial walls, thin and bright where the sound meets them, with the mouths of the pulmonary veins."""
    veins = rng.uniform(0.35, 0.65, 2)

    def open_at_veins(q: np.ndarray, w: np.ndarray) -> np.ndarray:
        gap = np.min(np.abs(q[:, None] - veins), axis=1)
        return 1 - 0.85 * np.exp(-0.5 * (gap / 0.018) ** 2)

    found = [
        Ribbon(atrium, _outwards(atrium, 4.0), 1.0, clumps=4.5, facing=11.0, smooth=0.1, strength=open_at_veins),
    ]
    if anatomy.right_wall is not None and anatomy.right_atrium is not None:
        wall, chamber = anatomy.right_wall, anatomy.right_atrium
        found += [
            Ribbon(wall, wall + np.array([-4.5, 0.0]), rng.uniform(-16, -4), clumps=5.0, facing=4.0),
            Ribbon(chamber, _outwards(chamber, 3.5), rng.uniform(-6, 1), clumps=5.0, facing=11.0, smooth=0.1),
        ]
    return found


def _surroundings(rng, patient: Patient, view: ViewName, anatomy: Anatomy, sided) -> list[Ribbon]:
    """Pericardium, lung, and the bright tissue behind the atria."""
    epi, atrium = anatomy.epicardium, anatomy.atrium
    nodes = epi.shape[1]
    right_heart = anatomy.right_wall is not None
    first = 64 if right_heart else 0  # the septum borders on the right ventricle
    outside = epi[:, first:]
    far = _outwards(epi, rng.uniform(22, 32))[:, first:]
    fade = rng.uniform(2.0, 4.5)
    tissues = [
        Ribbon(outside, outside + 0.07 * (far - outside), 5.0, clumps=3.5, facing=5.0, smooth=0.25,
               strength=lambda q, w: sided((first + q * (nodes - first)) / nodes)),
        Ribbon(outside, far, -3.0, clumps=5.0, grain=7.0, facing=5.0, density=1.5,
               strength=lambda q, w: np.exp(-fade * w) * sided((first + q * (nodes - first)) / nodes)),
    ]  # fmt: skip
    bottom = slice(30, -30)
    behind = _outwards(atrium, rng.uniform(24, 36))
    glow = rng.uniform(1.2, 2.6)
    tissues.append(
        Ribbon(atrium[:, bottom] * 1.0, behind[:, bottom], 4.0, clumps=6.0, grain=8.0, facing=8.0, density=1.5,
               strength=lambda q, w: np.exp(-glow * w) * np.sin(np.pi * q.clip(0.02, 0.98)) ** 0.5)
    )  # fmt: skip
    for side in (slice(0, 31), slice(-31, None)):
        tissues.append(
            Ribbon(atrium[:, side], behind[:, side], -4.0, clumps=5.0, grain=7.0, density=1.5,
                   strength=lambda q, w: np.exp(-3.5 * w))
        )  # fmt: skip
    if anatomy.right_wall is not None and anatomy.right_atrium is not None:
        for curve, level in ((anatomy.right_wall, -12.0), (anatomy.right_atrium, -1.0)):
            outer = _outwards(curve, 26.0, centre=anatomy.right_wall.mean(axis=1, keepdims=True))
            tissues.append(
                Ribbon(curve, outer, level, clumps=6.0, grain=8.0, facing=8.0, density=1.2,
                       strength=lambda q, w: np.exp(-3.0 * w))
            )  # fmt: skip
    return tissues
