"""Times of several functions taken in turns, so that noise of the machine hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

Clock = Callable[[], int]
"""Gives nanoseconds, like time.perf_counter_ns."""


@dataclass(frozen=True)
class Quantiles:
    """What is shown of a sample."""

    count: int
    p10: float
    p25: float
    median: float
    p75: float
    p90: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles:
        """Linear interpolation between the ordered values. Raises ValueError where there are none."""
        if not values:
            raise ValueError("Quantiles.of: there are no values")
        return cls(len(values), *np.percentile(values, (10, 25, 50, 75, 90, 95)).tolist())


@dataclass(frozen=True)
class Samples:
    """The times of one function."""

    first: float
    """Seconds of the first call, which warms up and is in no statistic."""
    seconds: tuple[float, ...]
    """Seconds a call, one value a round, in the order of the rounds; empty where `first` alone was over the budget."""


def synchronise(device: torch.device | str) -> None:
    """Wait until the device has done what it was told; the CPU always has."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def in_turns(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    device: torch.device | str = "cpu",
    calls: int = 1,
    warm_up: int = 2,
    budget: float | None = None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Samples]:
    """Time every function once a round, `calls` calls at a stretch; each round starts with another function.

    A function warms up with `warm_up` calls first. One whose first call takes longer than `budget` seconds is not
    timed, and one whose timed calls have used up the budget takes no part in later rounds: value i of every function
    is always of round i. The device is synchronised before and after each stretch, and garbage is not collected within
    a round. Raises ValueError for fewer than one round, call or warm-up call.
    """
    for name, number in (("rounds", rounds), ("calls", calls), ("warm_up", warm_up)):
        if number < 1:
            raise ValueError(f"in_turns: {name} must be at least 1, not {number}")
    limit = float("inf") if budget is None else budget

    def stretch(function: Callable[[], object], count: int) -> float:
        synchronise(device)
        start = clock()
        for _ in range(count):
            function()
        synchronise(device)
        return (clock() - start) / 1e9

    with _no_garbage_collection():
        first = {name: stretch(function, 1) for name, function in functions.items()}
        playing = [name for name in functions if first[name] <= limit]
        for name in playing:
            if warm_up > 1:
                stretch(functions[name], warm_up - 1)
        seconds: dict[str, list[float]] = {name: [] for name in functions}
        for i in range(rounds):
            at = i % len(playing) if playing else 0
            for name in playing[at:] + playing[:at]:
                seconds[name].append(stretch(functions[name], calls) / calls)
            playing = [name for name in playing if sum(seconds[name]) * calls < limit]
    return {name: Samples(first[name], tuple(values)) for name, values in seconds.items()}


def paired_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Round by round, over the rounds that both took part in: what slows a whole round cancels out."""
    return [a / b for a, b in zip(numerator, denominator, strict=False)]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
