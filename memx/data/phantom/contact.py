"""Echoes that are lost for some frames: the probe leaves the skin, or a rib or lung comes between."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memx.data.phantom.population import Patient
from memx.data.phantom.solid import ViewName

MOST = 0.5
"""Largest share of frames with a loss."""
_STAYS = 2 / 3
_HALF_WIDTH, _DECIBELS = (0.8, 2.0), (30.0, 60.0)
_EDGE = 0.08


def contact(
    patient: Patient, view: ViewName, *, frames: int, lines: int, share: float, kept: tuple[int, ...] = ()
) -> Float[np.ndarray, "t lines"]:
    """The factor of every line's echoes in every frame; below 1 in all lines of a lost frame, 1 where there is contact.

    A Markov chain: the first frame is lost with probability `share`, contact is lost with share / (1 − share) · ⅓ a
    frame, and a loss stays with ⅔, so that it lasts three frames in the mean. The frames `kept` have none and end the
    loss before them, which leaves a little less than `share` lost in all. A loss takes 30–60 dB from a part of the
    sector, 0.8–2.0 of its half-angle to either side of a line anywhere. The same patient, view and share always lose
    the same.
    """
    if not 0 <= share <= MOST:
        raise ValueError(f"share must be between 0 and {MOST}, got {share}")
    rng = patient.rng(70, int(view[0]))
    draws, losses = rng.random(frames), rng.random((frames, 3))
    angles = np.linspace(-1, 1, lines)
    gain, profile = np.ones((frames, lines)), np.ones(lines)
    lost, chance = False, share
    for i in range(frames):
        begins = not lost
        lost = draws[i] < chance and i not in kept
        chance = _STAYS if lost else share / (1 - share) * (1 - _STAYS)
        if not lost:
            continue
        if begins:
            centre, half_width, decibels = 2 * losses[i, 0] - 1, _between(_HALF_WIDTH, losses[i, 1]), losses[i, 2]
            within = 1 / (1 + np.exp((np.abs(angles - centre) - half_width) / _EDGE))
            profile = 10 ** (-_between(_DECIBELS, decibels) * within / 20)
        gain[i] = profile
    return gain


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
