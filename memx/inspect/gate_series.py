"""One gate over the frames of a clip: its means and spreads by channel, by key row and altogether."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from memx.memory.gate import Gate

CHANNELS = {"h": "head", "v": "value channel"}
"""Axes that a gate is drawn over, the first that it has."""


@dataclass(frozen=True)
class GateSeries:
    """A gate over time; NaN in frames that did not meet it. Objects that share a gate have one entry.

    low, high   the values that the gate can take
    axes        the axes that it has besides batch and time
    channel     what the channels are: `head`, `value channel`, or "" where the gate is one number an object
    channels    mean over all other axes (key rows, tokens)
    spread      standard deviation over these
    rows        mean over all axes but the key channels, where the gate has one for each
    mean, bottom, top   mean over everything, and the 5th and 95th percentile
    """

    name: str
    low: float
    high: float
    axes: str
    channel: str
    channels: Float[np.ndarray, "t o c"]
    spread: Float[np.ndarray, "t o c"]
    rows: Float[np.ndarray, "t o k"] | None
    mean: Float[np.ndarray, "t o"]
    bottom: Float[np.ndarray, "t o"]
    top: Float[np.ndarray, "t o"]


@dataclass(frozen=True)
class _Summary:
    channels: np.ndarray
    spread: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    bottom: np.ndarray
    top: np.ndarray


class GateSummaries:
    """Collects a clip's gates a frame at a time and keeps their summaries only."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        self._frames: list[dict[str, _Summary]] = []

    def add(self, gates: dict[str, Gate]) -> None:
        """The gates of the next frame, of a batch of one clip."""
        for name, gate in gates.items():
            self._gates.setdefault(name, gate)
        self._frames.append({name: _summary(gate) for name, gate in gates.items()})

    def series(self) -> tuple[GateSeries, ...]:
        """Every gate over all frames."""
        return tuple(
            _series(name, gate, [frame.get(name) for frame in self._frames]) for name, gate in self._gates.items()
        )


def table(value: Tensor, axes: str, *kept: str) -> Tensor:
    """A gate of a batch of one with the `kept` axes first, 1 for those that it has not, and all others flattened."""
    letters = axes.split()
    first = [letters.index(letter) for letter in kept if letter in letters]
    rest = [place for place in range(value.ndim) if place not in first]
    sizes = [value.shape[letters.index(letter)] if letter in letters else 1 for letter in kept]
    return value.permute(*first, *rest).reshape(*sizes, -1)


def channel_axis(axes: str) -> str:
    """The letter of the axis that a gate is drawn over, or "" where it has none."""
    return next((letter for letter in CHANNELS if letter in axes.split()), "")


def _summary(gate: Gate) -> _Summary:
    value = gate.value.detach().double().cpu()
    channels = table(value, gate.axes, "o", channel_axis(gate.axes))
    flat = channels.flatten(1).numpy()
    bottom, top = np.quantile(flat, (0.05, 0.95), axis=1)
    rows = table(value, gate.axes, "o", "k").mean(-1).numpy()
    return _Summary(channels.mean(-1).numpy(), channels.std(-1, correction=0).numpy(), rows, flat.mean(1), bottom, top)


def _series(name: str, gate: Gate, found: Sequence[_Summary | None]) -> GateSeries:
    axes = " ".join(letter for letter in gate.axes.split() if letter != "b")

    def over_time(part: Callable[[_Summary], np.ndarray]) -> np.ndarray:
        parts = [None if item is None else part(item) for item in found]
        missing = np.full_like(next(values for values in parts if values is not None), np.nan)
        return np.stack([missing if values is None else values for values in parts])

    return GateSeries(
        name=name,
        low=gate.low,
        high=gate.high,
        axes=axes,
        channel=CHANNELS.get(channel_axis(axes), ""),
        channels=over_time(lambda item: item.channels),
        spread=over_time(lambda item: item.spread),
        rows=over_time(lambda item: item.rows) if "k" in axes.split() else None,
        mean=over_time(lambda item: item.mean),
        bottom=over_time(lambda item: item.bottom),
        top=over_time(lambda item: item.top),
    )
