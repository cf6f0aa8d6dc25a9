"""The tissues of an apical view, and how brightly each returns the sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from memx.data.phantom.anatomy import Anatomy, Curve
from memx.data.phantom.population import Patient
from memx.data.phantom.scatterers import Ribbon
from memx.data.phantom.solid import ViewName

Along = Callable[[np.ndarray], np.ndarray]  # an amplitude as a function of q, the place along the wall


def ribbons(patient: Patient, view: ViewName, anatomy: Anatomy, gaps: float) -> list[Ribbon]:
    """The tissues of an apical view. `gaps` (0 to 1) says how much of the wall drops out."""
    rng = patient.rng(30, int(view[0]))
    endo, epi = anatomy.endocardium, anatomy.epicardium
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
    tissues += _surroundings(rng, anatomy, sided)
    tissues += _chambers(rng, anatomy)
    for i, leaflet in enumerate(anatomy.leaflets):
        thick = leaflet + np.array([0.0, 1.3])
        level = (5.0, 2.0, -4.0, -7.0)[i] + rng.uniform(-7, 3)
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


def _outwards(curve: Curve, distance: float, *, follow: float = 0.15, centre: Curve | None = None) -> Curve:
    """A curve `distance` further out than the first frame's, which takes the share `follow` of the motion."""
    still = curve[:1]
    middle = still.mean(axis=1, keepdims=True) if centre is None else centre[:1]
    ray = still - middle
    far = still + distance * ray / np.maximum(np.linalg.norm(ray, axis=-1, keepdims=True), 1e-9)
    return far + follow * (curve - still)


def _dropout(rng: np.random.Generator, gaps: float) -> Along:
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


def _sided(left: float, right: float) -> Along:
    """A gain that goes from `left` to `right` decibels along the wall."""
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


def _chambers(rng: np.random.Generator, anatomy: Anatomy) -> list[Ribbon]:
    """The atrial walls, thin and bright where the sound meets them, with the mouths of the pulmonary veins."""
    atrium, veins = anatomy.atrium, rng.uniform(0.35, 0.65, 2)

    def open_at_veins(q: np.ndarray, w: np.ndarray) -> np.ndarray:
        gap = np.min(np.abs(q[:, None] - veins), axis=1)
        return 1 - 0.85 * np.exp(-0.5 * (gap / 0.018) ** 2)

    found = [
        Ribbon(
            atrium, _outwards(atrium, 4.0, follow=1.0), 1.0, clumps=4.5, facing=11.0, smooth=0.1, strength=open_at_veins
        ),
    ]
    if anatomy.right_wall is not None and anatomy.right_atrium is not None:
        wall, chamber = anatomy.right_wall, anatomy.right_atrium
        found += [
            Ribbon(wall, wall + np.array([-4.5, 0.0]), rng.uniform(-16, -4), clumps=5.0, facing=4.0),
            Ribbon(
                chamber, _outwards(chamber, 3.5, follow=1.0), rng.uniform(-6, 1), clumps=5.0, facing=11.0, smooth=0.1
            ),
        ]
    return found


def _surroundings(rng: np.random.Generator, anatomy: Anatomy, sided: Along) -> list[Ribbon]:
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
        Ribbon(atrium[:, bottom], behind[:, bottom], 4.0, clumps=6.0, grain=8.0, facing=8.0, density=1.5,
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
