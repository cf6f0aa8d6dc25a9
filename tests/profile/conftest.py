"""The peaks of this machine are measured once, not for every network that is projected."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache

import pytest
import torch

from memx.profile.measured_peaks import Measured, measure_peaks

Measure = Callable[[torch.device | str, Collection[str]], Measured]


@pytest.fixture(scope="session")
def measure_once() -> Measure:
    measured = cache(measure_peaks)
    return lambda device, formats: measured(torch.device(device), frozenset(formats))


@pytest.fixture(autouse=True)
def _peaks(measure_once: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memx.profile.projection.measure_peaks", measure_once)
