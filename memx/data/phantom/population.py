"""Who is examined: invented patients, drawn one by one so that patient i of a seed never depends on the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from memx.data.phantom.solid import WALLS, Heart, ViewName, Wall, half_width, profile

Quality = Literal["Good", "Medium", "Poor"]
VIEWS: tuple[ViewName, ...] = ("2CH", "4CH")
REVERSED_EVERY = 6  # one patient in every six has a half sequence that runs from ES to ED, as some of CAMUS do


@dataclass(frozen=True)
class View:
    """How one view cuts and shows the heart. Lengths in millimetres, angles in degrees.

    depth, half_angle   the sector
    apex_depth, apex_x  where the endocardial apex lies below the probe
    tilt                of the long axis against the vertical
    foreshortening      distance of the cut from the true apex, as a share of the ventricle's half-width there
    bend, annulus       curvature of the axis and slant of the mitral annulus, as shares of length and width
    rocking             rotation of the heart from ED to ES
    atrium_length, atrium_width, atrium_shift, atrium_expansion   the left atrium at ED and its filling in systole
    reversed            whether a half sequence of it runs from ES to ED
    """

    name: ViewName
    depth: float
    half_angle: float
    apex_depth: float
    apex_x: float
    tilt: float
    foreshortening: float
    bend: float
    annulus: float
    rocking: float
    atrium_length: float
    atrium_width: float
    atrium_shift: float
    atrium_expansion: float
    reversed: bool


@dataclass(frozen=True)
class Patient:
    """One invented patient. EF in percent, volumes in millilitres; `systole` is the share of a cycle from ED to ES."""

    seed: int
    index: int
    ef: float
    edv: float
    esv: float
    heart_rate: float
    frame_rate: float
    systole: float
    quality: Quality
    sex: Literal["F", "M"]
    age: int
    heart: Heart
    views: dict[ViewName, View]

    def rng(self, *stream: int) -> np.random.Generator:
        """A random generator of this patient and purpose only."""
        return np.random.default_rng([self.seed, self.index, *stream])


def patient(seed: int, index: int) -> Patient:
    """Patient `index` of population `seed`: always the same, however many are asked for.

    EF is a mixture of normal, reduced and poor function within 15–75 %; weak ventricles are larger, rounder, and more
    often weak in one segment.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative, got seed={seed}, index={index}")
    rng = np.random.default_rng([seed, index, 0])
    centre, spread = ((60.0, 6.0), (45.0, 7.0), (29.0, 8.0))[rng.choice(3, p=(0.5, 0.28, 0.22))]
    ef = float(np.clip(rng.normal(centre, spread), 15.0, 75.0))
    sex = "F" if rng.random() < 0.45 else "M"
    typical = (105.0 if sex == "F" else 130.0) * (1.0 + max(0.0, 52.0 - ef) / 60.0)
    edv = float(np.clip(typical * np.exp(rng.normal(0.0, 0.2)), 55.0, 270.0))
    heart = _heart(rng, ef, edv)
    quality = ("Good", "Medium", "Poor")[rng.choice(3, p=(0.45, 0.37, 0.18))]
    rate = float(np.clip(rng.normal(68.0, 11.0), 48.0, 105.0))
    block, place = divmod(index, REVERSED_EVERY)
    planted = np.random.default_rng([seed, block, 1 << 20]).integers(REVERSED_EVERY) == place
    return Patient(
        seed=seed,
        index=index,
        ef=ef,
        edv=edv,
        esv=edv * (1 - ef / 100),
        heart_rate=rate,
        frame_rate=float(rng.uniform(36.0, 48.0)),
        systole=float(np.clip(0.36 + 0.0012 * (rate - 68.0) + rng.normal(0.0, 0.012), 0.3, 0.44)),
        quality=quality,
        sex=sex,
        age=int(np.clip(rng.normal(64.0, 14.0), 21, 93)),
        heart=heart,
        views={name: _view(np.random.default_rng([seed, index, 1 + i]), name, heart, edv, bool(planted))
               for i, name in enumerate(VIEWS)},
    )  # fmt: skip


def alike_in_both_planes(person: Patient) -> Patient:
    """The same patient with a ventricle whose 2CH plane moves as its 4CH plane does, so that one view tells the EF.

    The inferior wall gets the shape and motion of the septal one, the anterior wall those of the lateral one. Volumes,
    EF, the ventricle at ED and its 4CH cut there stay; how far the walls move is solved anew for the same volumes.
    """
    walls = {**person.heart.walls}
    for here, there in zip(WALLS["4CH"], WALLS["2CH"], strict=True):
        walls[there] = walls[here]
    return replace(person, heart=replace(person.heart, walls=walls))


def _heart(rng: np.random.Generator, ef: float, edv: float) -> Heart:
    roundness = max(0.0, 52.0 - ef) / 52.0  # a failing ventricle is rounder
    length = 90.0 * (edv / 120.0) ** (1 / 3) * (1 - 0.08 * roundness) * float(np.exp(rng.normal(0.0, 0.045)))
    weak_wall = rng.integers(4) if rng.random() < (0.65 if ef < 50 else 0.2) else -1
    thickness = float(np.clip(rng.normal(9.5, 1.5), 6.8, 14.0))
    walls = {}
    for i, name in enumerate(("septal", "lateral", "inferior", "anterior")):
        walls[name] = Wall(
            reach=1.0,
            thickness=thickness * float(np.exp(rng.normal(0.05 if name == "septal" else 0.0, 0.08))),
            weak_at=float(rng.uniform(0.1, 0.9)),
            weak_span=float(rng.uniform(0.16, 0.32)),
            weakness=float(rng.uniform(0.35, 0.9) if i == weak_wall else rng.uniform(-0.15, 0.25)),
        )
    for left, right in WALLS.values():
        lean = float(rng.normal(0.0, 0.05))
        walls[left] = _reaching(walls[left], 1 - lean)
        walls[right] = _reaching(walls[right], 1 + lean)
    return Heart(
        length=length,
        flattening=float(np.exp(rng.normal(0.02, 0.05))),
        widest=float(rng.uniform(0.56, 0.74)),
        roundness=float(rng.uniform(1.9, 2.7)),
        base=float(rng.uniform(0.68, 0.86)),
        shortening=float(np.clip(0.0028 * ef * rng.uniform(0.8, 1.15), 0.02, 0.22)),
        walls=walls,
    )


def _reaching(wall: Wall, reach: float) -> Wall:
    return Wall(reach, wall.thickness, wall.weak_at, wall.weak_span, wall.weakness)


def _view(rng: np.random.Generator, name: ViewName, heart: Heart, edv: float, planted: bool) -> View:
    size = (edv / 120.0) ** (1 / 3)
    apex_x = float(rng.normal(2.0 if name == "4CH" else 0.0, 4.5))
    tilt = float(np.clip(rng.normal(3.0 if name == "4CH" else 0.0, 7.0), -15.0, 15.0))
    apex_depth = float(rng.uniform(22.0, 40.0))
    atrium = float(rng.uniform(30.0, 46.0)) * size
    return View(
        name=name,
        depth=float(apex_depth + heart.length + atrium + rng.uniform(10.0, 42.0)),
        half_angle=max(float(rng.uniform(36.0, 45.0)), _angle_needed(name, heart, edv, apex_depth, apex_x, tilt)),
        apex_depth=apex_depth,
        apex_x=apex_x,
        tilt=tilt,
        foreshortening=float(np.clip(rng.beta(1.3, 3.0), 0.0, 0.6)),
        bend=float(rng.normal(0.012, 0.015)),
        annulus=float(rng.normal(0.06 if name == "4CH" else 0.0, 0.1)),
        rocking=float(rng.normal(0.0, 1.8)),
        atrium_length=atrium,
        atrium_width=float(rng.uniform(34.0, 46.0)) * size,
        atrium_shift=float(rng.normal(0.0, 3.0)),
        atrium_expansion=float(rng.uniform(0.08, 0.24)),
        reversed=planted,
    )


def _angle_needed(name: ViewName, heart: Heart, edv: float, apex_depth: float, apex_x: float, tilt: float) -> float:
    """The half-angle in degrees of a sector that holds the cavity at ED, with some room."""
    s = np.linspace(0.0, 1.0, 65)
    width = half_width(heart, edv) * profile(heart, s) * (1.0 if name == "4CH" else heart.flattening)
    cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    angles = []
    for sign, wall in zip((-1.0, 1.0), WALLS[name], strict=True):
        x, y = sign * heart.walls[wall].reach * width, heart.length * s
        angles.append(np.abs(np.arctan2(apex_x + cos * x + sin * y, apex_depth - sin * x + cos * y)).max())
    return float(np.rad2deg(max(angles))) + 5.0
