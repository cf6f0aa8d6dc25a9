"""Echoes that are lost for some frames: the probe leaves the skin, or a rib or lung comes between."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memx.data.phantom.population import Patient
from memx.data.phantom.solid import ViewName

MOST = 0.5
"""Largest share of frames with a loss."""
_STAYS = 0.5
_EDGE = 0.08


def contact(
    patient: Patient, view: ViewName, *, frames: int, lines: int, share: float, kept: tuple[int, ...] = (0,)
) -> Float[np.ndarray, "t lines"]:
    """The factor of every line's echoes in every frame; 1 where there is contact.

    `share` of the frames have a loss, in the mean, and a loss lasts two frames, in the mean: a Markov chain that enters
    one with probability share / (1 − share) · ½ a frame and leaves it with ½. A loss takes 15–40 dB from a part of the
    sector, 0.4–1.6 of its half-angle to either side of a line anywhere. The frames `kept` have none. The same
    patient, view and share always lose the same.
    """
    if not 0 <= share <= MOST:
        raise ValueError(f"share must be between 0 and {MOST}, got {share}")
    rng = patient.rng(70, int(view[0]))
    draws, losses = rng.random(frames), rng.random((frames, 3))
    angles = np.linspace(-1, 1, lines)
    gain, profile = np.ones((frames, lines)), np.ones(lines)
    lost = False
    for i in range(frames):
        begins = not lost
        lost = draws[i] < (_STAYS if lost else share / (1 - share) * (1 - _STAYS)) and i not in kept
        if not lost:
            continue
        if begins:
            centre, half_width, decibels = 2 * losses[i, 0] - 1, 0.4 + 1.2 * losses[i, 1], 15 + 25 * losses[i, 2]
            within = 1 / (1 + np.exp((np.abs(angles - centre) - half_width) / _EDGE))
            profile = 10 ** (-decibels * within / 20)
        gain[i] = profile
    return gain
