"""The heart's clock: what the ventricle, the valves and the atrium do at a phase of the cycle.

A phase is a share of the cycle: 0 is ED, `systole` is ES, 1 is the next ED.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from memx.data.phantom.population import Patient

# Knots of monotone curves: the share that is ejected over systole, the share that is filled again over diastole
# (relaxation, early filling, diastasis, atrial kick), and how far the mitral valve is open over diastole.
_EJECTION = ((0.0, 0.12, 0.35, 0.65, 0.88, 1.0), (0.0, 0.06, 0.36, 0.78, 0.965, 1.0))
_FILLING = ((0.0, 0.08, 0.2, 0.36, 0.66, 0.8, 1.0), (0.0, 0.025, 0.3, 0.66, 0.76, 0.85, 1.0))
_OPENING = ((0.0, 0.08, 0.2, 0.3, 0.5, 0.66, 0.8, 0.94, 1.0), (0.0, 0.0, 0.95, 0.9, 0.45, 0.4, 0.8, 0.2, 0.0))


@cache
def _curve(knots: tuple[tuple[float, ...], tuple[float, ...]]) -> PchipInterpolator:
    return PchipInterpolator(*knots)


@dataclass(frozen=True)
class Timing:
    """The frames of a recording: their phases, and which are ED and ES."""

    phases: Float[np.ndarray, " t"]
    fps: float
    ed: int
    es: int


def contraction(patient: Patient, phases: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How far the ventricle has emptied: 0 at ED, 1 at ES, monotone in between."""
    phase = np.mod(phases, 1.0)
    ejected = _curve(_EJECTION)(np.clip(phase / patient.systole, 0, 1))
    filled = _curve(_FILLING)(np.clip((phase - patient.systole) / (1 - patient.systole), 0, 1))
    return ejected - filled


def opening(patient: Patient, phases: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """How far the mitral valve is open: 0 in systole, near 1 in early filling."""
    diastole = (np.mod(phases, 1.0) - patient.systole) / (1 - patient.systole)
    return np.clip(_curve(_OPENING)(np.clip(diastole, 0, 1)), 0.0, 1.0)


def half(patient: Patient, frames: int | None, *, backwards: bool) -> Timing:
    """A half sequence: ED to ES, or `backwards` the diastole from ES to the next ED.

    `frames` None takes what the patient's heart rate and frame rate give.
    """
    seconds = (1 - patient.systole if backwards else patient.systole) * 60.0 / patient.heart_rate
    count = frames or max(8, round(seconds * patient.frame_rate) + 1)
    fps = (count - 1) / seconds
    if backwards:
        return Timing(np.linspace(patient.systole, 1.0, count), fps, ed=count - 1, es=0)
    return Timing(np.linspace(0.0, patient.systole, count), fps, ed=0, es=count - 1)


def cycles(patient: Patient, fps: float, frames: int | None) -> Timing:
    """A recording of one full cycle or more that starts anywhere in the cycle.

    The cycle is rounded to whole frames so that one frame lies on ED and one on ES exactly; ED may come after ES.
    `frames` None takes one to two cycles; fewer frames than a cycle are refused with ValueError.
    """
    period = max(8, round(60.0 / patient.heart_rate * fps))
    systole = min(max(2, round(patient.systole * period)), period - 3)
    rng = patient.rng(10)
    start, length = int(rng.integers(period)), int(period * rng.uniform(1.15, 2.0)) + 1
    count = length if frames is None else frames
    if count < period + 1:
        raise ValueError(f"a full cycle of this patient is {period} frames at {fps:g} fps; {count} are too few")
    step = (start + np.arange(count)) % period
    # In whole frames systole lasts `systole` of `period`; map it onto the patient's own share of the cycle.
    phases = np.interp(step, (0, systole, period), (0.0, patient.systole, 1.0))
    ends = np.flatnonzero(step == systole)
    starts = np.flatnonzero(step == 0)
    return Timing(phases, fps, ed=int(starts[0]), es=int(ends[0]))
