"""The moving anatomy of one view, in millimetres: x to the right, y downwards, the probe at the origin.

A view is a cut through the solid of `solid.py`. Bending the axis and slanting the annulus shear the discs, rocking
turns the heart: none of them changes the volume. A foreshortened cut misses the apex by the same share of the width in
every frame, which lowers the volumes that are measured from it and leaves their ratio, the EF, nearly as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from memx.data.phantom import cycle
from memx.data.phantom.population import Patient, View
from memx.data.phantom.solid import WALLS, Heart, ViewName, half_width, inward, profile

NODES = 97  # points a wall, from the annulus to the apex
Curve = Float[np.ndarray, "t m 2"]


@dataclass(frozen=True)
class Anatomy:
    """Curves of every frame, all in image coordinates.

    endocardium, epicardium   from the left annulus over the apex to the right annulus
    atrium                    from the left annulus round the atrial roof to the right annulus
    leaflets                  of the mitral valve (and in 4CH of the tricuspid), hinge to tip
    right_wall, right_atrium  4CH only: the right ventricle's free wall, apex to annulus; the right atrium's outline
    volumes                   of the left ventricle, in millilitres
    """

    endocardium: Curve
    epicardium: Curve
    atrium: Curve
    leaflets: tuple[Curve, ...]
    right_wall: Curve | None
    right_atrium: Curve | None
    volumes: Float[np.ndarray, " t"]

    def cavity(self) -> Curve:
        """Outline of the left ventricular cavity; the chord of the annulus closes it."""
        return self.endocardium

    def muscle(self) -> Curve:
        """Outline of cavity and myocardium together."""
        return np.concatenate((self.endocardium[:, :1], self.epicardium, self.endocardium[:, -1:]), axis=1)


def build(patient: Patient, view_name: ViewName, phases: Float[np.ndarray, " t"]) -> Anatomy:
    """The anatomy of one view at the given phases of the cycle."""
    view, heart = patient.views[view_name], patient.heart
    emptied = cycle.contraction(patient, phases)
    open_ = cycle.opening(patient, phases)
    kappa, length, volumes = inward(heart, patient.edv, patient.esv, emptied)
    endo, thickness = _endocardium(patient, view, kappa, length)
    epi = endo + thickness[..., None] * _outward(endo)
    atrium = _atrium(view, heart, endo, length, emptied)
    leaflets = list(_mitral(endo, open_))
    right_wall = right_atrium = None
    if view_name == "4CH":
        right_wall, right_atrium, tricuspid = _right_heart(patient, endo, epi, atrium, emptied, open_)
        leaflets += tricuspid
    place = _placement(view, emptied)
    return Anatomy(
        endocardium=place(endo),
        epicardium=place(epi),
        atrium=place(atrium),
        leaflets=tuple(place(leaflet) for leaflet in leaflets),
        right_wall=None if right_wall is None else place(right_wall),
        right_atrium=None if right_atrium is None else place(right_atrium),
        volumes=volumes,
    )


def _placement(view: View, emptied: np.ndarray) -> Callable[[Curve], Curve]:
    """Heart coordinates (apex at 0, long axis along y) → image coordinates."""
    angle = np.deg2rad(view.tilt + view.rocking * emptied)[:, None]
    cos, sin = np.cos(angle), np.sin(angle)

    def place(curve: Curve) -> Curve:
        x, y = curve[..., 0], curve[..., 1]
        return np.stack((view.apex_x + cos * x + sin * y, view.apex_depth - sin * x + cos * y), axis=-1)

    return place


def _endocardium(patient: Patient, view: View, kappa: np.ndarray, length: np.ndarray) -> tuple[Curve, np.ndarray]:
    """The cut's endocardial curve and the wall's thickness along it, which follows from the wall's constant volume."""
    heart = patient.heart
    widest = half_width(heart, patient.edv) * (1.0 if view.name == "4CH" else heart.flattening)
    apex = _apex_of_cut(heart, view.foreshortening)
    s = apex + (1 - apex) * np.linspace(1.0, 0.0, NODES) ** 2
    shape = profile(heart, s)
    cut = np.sqrt(np.clip(1 - (view.foreshortening * (1 - s) / np.maximum(shape, 1e-9)) ** 2, 0.0, 1.0))
    cut[-1] = 0.0
    sides, depths = [], []
    for sign, name in zip((-1.0, 1.0), WALLS[view.name], strict=True):
        wall = heart.walls[name]
        still = widest * wall.reach * shape * cut
        moved = still * (1 - kappa[:, None] * wall.motion(s))
        x = sign * moved
        y = length[:, None] * s + view.annulus * x * s**2
        x = x + view.bend * length[:, None] * np.sin(np.pi * s)
        sides.append(np.stack((x, y), axis=-1))
        at_rest = wall.thickness * (0.68 + 0.32 * np.sin(np.pi * np.clip(s / 1.1, 0, 1)) ** 0.7)
        kept = at_rest * (still + at_rest / 2) * heart.length / length[:, None]
        depths.append(np.sqrt(moved**2 + 2 * kept) - moved)
    left, right = sides
    thickness = np.concatenate((depths[0], depths[1][:, -2::-1]), axis=1)
    tip = slice(NODES - 16, NODES + 15)  # the two walls meet at the apex: blend their thicknesses
    blend = np.hanning(33)[1:-1]
    thickness[:, tip] += blend * (0.5 * (depths[0][:, -1:] + depths[1][:, -1:]) - thickness[:, tip])
    return np.concatenate((left, right[:, -2::-1]), axis=1), thickness


def _apex_of_cut(heart: Heart, foreshortening: float) -> float:
    """The height at which a cut that misses the apex leaves the cavity: profile(s) = foreshortening · (1 − s)."""
    s = np.linspace(0.0, 0.5, 4001)
    return float(s[np.argmax(profile(heart, s) >= foreshortening * (1 - s))])


def _outward(curve: Curve) -> Curve:
    """Unit normals of a curve that runs clockwise on the screen from the lower left: to its left."""
    tangent = np.gradient(curve, axis=1)
    normal = np.stack((tangent[..., 1], -tangent[..., 0]), axis=-1)
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)


def _atrium(view: View, heart: Heart, endo: Curve, length: np.ndarray, emptied: np.ndarray) -> Curve:
    """The left atrium: its roof stays where it is, so the descending annulus fills it while the ventricle empties."""
    left, right = endo[:, :1], endo[:, -1:]
    middle, across = (left + right) / 2, (right - left) / 2
    roof = np.array([view.atrium_shift, heart.length + view.atrium_length])
    down = roof - middle
    annulus = np.linalg.norm(across, axis=-1)
    widest = np.maximum(view.atrium_width / 2 * (1 + view.atrium_expansion * emptied[:, None]), annulus)
    zeta = 1 - np.linspace(-1.0, 1.0, 2 * NODES - 1) ** 2  # 0 at the hinges, 1 at the roof
    side = np.sign(np.linspace(-1.0, 1.0, 2 * NODES - 1))
    turn = 0.42
    spread = np.where(zeta < turn, np.sin(np.pi / 2 * np.minimum(zeta / turn, 1)), 1.0)
    closing = np.sqrt(np.clip(1 - (np.maximum(zeta - turn, 0) / (1 - turn)) ** 2.3, 0, 1))
    width = (annulus + (widest - annulus) * spread) * closing
    unit = across / annulus[..., None]
    return middle + unit * (side * width)[..., None] + down * zeta[:, None]


def _mitral(endo: Curve, open_: np.ndarray) -> tuple[Curve, Curve]:
    """Anterior (left) and posterior (right) leaflet: closed they meet a little above the annulus, open they hang."""
    left, right = endo[:, 0], endo[:, -1]
    across = right - left
    up = np.stack((across[:, 1], -across[:, 0]), axis=-1) / np.linalg.norm(across, axis=-1, keepdims=True)
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    meet = left + 0.6 * across + 0.14 * width * up
    return (
        _leaflet(left, meet, left + 0.3 * across + 0.58 * width * up, 0.12 * width * up, open_),
        _leaflet(right, meet, right - 0.14 * across + 0.36 * width * up, 0.05 * width * up, open_),
    )


def _leaflet(
    hinge: np.ndarray, closed_tip: np.ndarray, open_tip: np.ndarray, belly: np.ndarray, open_: np.ndarray
) -> Curve:
    """A leaflet from hinge to tip, bellied, as a quadratic Bézier curve."""
    share = open_[:, None]
    tip = (1 - share) * closed_tip + share * open_tip
    middle = (hinge + tip) / 2 + belly * (0.4 + share)
    u = np.linspace(0.0, 1.0, 25)[None, :, None]
    return (1 - u) ** 2 * hinge[:, None] + 2 * u * (1 - u) * middle[:, None] + u**2 * tip[:, None]


def _right_heart(
    patient: Patient, endo: Curve, epi: Curve, atrium: Curve, emptied: np.ndarray, open_: np.ndarray
) -> tuple[Curve, Curve, list[Curve]]:
    """What a 4CH view shows of the right heart, left of the septum: free wall, atrium and tricuspid leaflets.

    The free wall runs from the septum near the apex to the lateral tricuspid annulus, which descends further than the
    mitral one; the atrium from there round its floor to the interatrial septum.
    """
    rng = patient.rng(20)
    width = rng.uniform(30, 40) * (patient.edv / 120.0) ** (1 / 6)
    swell = rng.uniform(9, 15) * (1 - 0.7 * emptied[:, None])
    descent = np.array([4.0, -0.18 * patient.heart.length])
    start = epi[:, 62] + np.array([-1.0, 0.0])
    annulus = endo[:1, 0] + np.array([-width - 6.0, -4.0]) + emptied[:, None] * descent
    along = annulus - start
    out = np.stack((-along[:, 1], along[:, 0]), axis=-1) / np.linalg.norm(along, axis=-1, keepdims=True)
    wall = _spline([start, start + 0.35 * along + 0.8 * swell * out, start + 0.72 * along + swell * out, annulus])

    left, roof = atrium[0, :, 0].min(), atrium[0, :, 1].max()
    floor = np.array([left - 2.0 + rng.uniform(-0.5, -0.2) * width, roof + rng.uniform(-6, 2)])
    floor = np.broadcast_to(floor, annulus.shape)
    side = (annulus + floor) / 2 + np.array([-7.0, 4.0]) * (1 + 0.4 * emptied[:, None])
    septum = atrium[:, 44] + np.array([-2.0, 0.0])
    chamber = _spline([annulus, side, floor, (floor + septum) / 2 + np.array([4.0, 3.0]), septum])

    crux = epi[:, 1] + np.array([1.0, -3.0])
    across = annulus - crux
    up = np.stack((-across[:, 1], across[:, 0]), axis=-1)  # towards the apex, as long as the annulus is wide
    meet = crux + 0.5 * across + 0.1 * up
    leaflets = [
        _leaflet(crux, meet, crux + 0.12 * across + 0.42 * up, 0.0 * up, open_),
        _leaflet(annulus, meet, annulus - 0.25 * across + 0.45 * up, 0.05 * up, open_),
    ]
    return wall, chamber, leaflets


def _spline(points: list[np.ndarray], nodes: int = 81) -> Curve:
    """A smooth curve through moving points."""
    knots = np.stack(np.broadcast_arrays(*points), axis=0)
    u = np.linspace(0.0, 1.0, nodes)
    return np.moveaxis(CubicSpline(np.linspace(0, 1, len(points)), knots, axis=0)(u), 0, 1)
