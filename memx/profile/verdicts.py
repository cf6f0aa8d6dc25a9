"""What the figures of an axis come to, in a sentence a memory: computed from its points, judged by stated bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Protocol

from memx.profile.endurance import NetworkPoint
from memx.profile.scaling import UNITS, Axis, Point
from memx.report.words import mib, times

WITHIN = 0.05
"""How much more a later frame may take, and the process hold, to count as flat; a state may not grow at all."""

IN_PROPORTION = 0.1
"""How far a cost may be from proportion, as the power of what grows, to count as in proportion to it."""


class Measured(Protocol):
    """What a point of a memory and one of a network have in common."""

    @property
    def memory(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def ratio(self) -> float | None: ...
    @property
    def state_bytes(self) -> int | None: ...


@dataclass(frozen=True)
class Verdict:
    """A memory's last place that was reached beside its first one.

    found   `flat`, `grows`, what is not flat, how the cost goes with what grows; or that there is nothing to compare
    facts   the figures that say so
    missed  the first place that was not reached, and why where that is known; empty where all were
    """

    memory: str
    found: str
    facts: str
    missed: str = ""

    def __str__(self) -> str:
        facts = f"{self.facts}: " if self.facts else ""
        return f"{self.memory}: {facts}{self.found}{'; ' if self.missed else ''}{self.missed}"


@dataclass(frozen=True)
class Scaling:
    """One axis: memories alone, and whole networks, side by side; `networks` is empty for the axis `state`."""

    axis: Axis
    memories: Sequence[Point] = ()
    networks: Sequence[NetworkPoint] = ()

    def sentences(self) -> dict[str, list[str]]:
        """What is found of the networks and of the memories."""
        return {
            "networks": [str(item) for item in verdicts(self.axis, self.networks)],
            "memories": [str(item) for item in verdicts(self.axis, self.memories)],
        }


def verdicts(axis: Axis, points: Sequence[Measured]) -> Iterator[Verdict]:
    """A verdict a memory, in the order of the points.

    Frames: `flat` where the frame takes at most 5% longer, the state is as large and the process holds at most 5% more;
    `grows` where the state does; else what is not flat is named. Other axes: the cost beside proportion.
    """
    for name in dict.fromkeys(point.memory for point in points):
        own = [point for point in points if point.memory == name]
        reached = [point for point in own if point.seconds is not None]
        missed = next((_missed(axis, point) for point in own if point.seconds is None), "")
        if len(reached) > 1:
            compare = _frames if axis == "frames" else _other
            facts, found = compare(axis, reached[0], reached[-1])
            yield Verdict(name, found, facts, missed)
        elif reached:
            yield Verdict(name, f"only {_place(axis, reached[0].at)} was reached", "", missed)
        else:
            yield Verdict(name, "nothing was reached", "", missed)


def _frames(axis: Axis, first: Measured, last: Measured) -> tuple[str, str]:
    ratio, before, after = last.ratio or 0.0, first.state_bytes or 0, last.state_bytes or 0
    facts = [f"{_place(axis, last.at)} costs {times(ratio)} {_place(axis, first.at)}"]
    if after == before:
        facts.append(f"state {mib(after)} at both")
    else:
        facts.append(f"state grows by {mib((after - before) / (last.at - first.at))} a frame to {mib(after)}")
    held = _held(first, last)
    swollen = fuller = False
    if held is not None:
        facts.append(f"resident memory {held[1] - held[0]:+,.1f} MiB on {held[0]:,.1f}".replace("-", "−"))
        swollen = held[1] > (1 + WITHIN) * held[0]
    on_device = _on_device(first, last)
    if on_device is not None:
        facts.append(f"on the device {on_device[1] - on_device[0]:+,.1f} MiB on {on_device[0]:,.1f}".replace("-", "−"))
        fuller = on_device[1] > (1 + WITHIN) * on_device[0]
    slower = ratio > 1 + WITHIN
    if after > before:
        found = "grows"
    elif slower or swollen or fuller:
        found = (
            " and ".join(["time"] * slower + ["resident memory"] * swollen + ["memory on the device"] * fuller)
            + f" not within {WITHIN:.0%}"
        )
    else:
        found = "flat"
    return ", ".join(facts), found


def _held(first: Measured, last: Measured) -> tuple[float, float] | None:
    """MiB that the process held, where both points know it."""
    if not (isinstance(first, NetworkPoint) and isinstance(last, NetworkPoint)):
        return None
    if first.resident_bytes is None or last.resident_bytes is None:
        return None
    return first.resident_bytes / 2**20, last.resident_bytes / 2**20


def _on_device(first: Measured, last: Measured) -> tuple[float, float] | None:
    """MiB of tensors on the CUDA device, where both points know it."""
    if not (isinstance(first, NetworkPoint) and isinstance(last, NetworkPoint)):
        return None
    if first.allocated_bytes is None or last.allocated_bytes is None:
        return None
    return first.allocated_bytes / 2**20, last.allocated_bytes / 2**20


def _other(axis: Axis, first: Measured, last: Measured) -> tuple[str, str]:
    ratio, before, after = last.ratio or 0.0, first.state_bytes or 0, last.state_bytes or 0
    more = (last.at / first.at) ** (2 if axis == "size" else 1)
    what = {"objects": "objects", "size": "tokens", "state": "key channels"}[axis]
    power = log(max(ratio, 1e-9)) / log(more)
    state = f"state {mib(after)} at both" if after == before else f"state {mib(before)} to {mib(after)}"
    facts = f"{times(ratio)} the time for {more:g} × the {what}, {state}"
    if abs(power - 1) <= IN_PROPORTION:
        return facts, "in proportion"
    return facts, f"{'more' if power > 1 else 'less'} than in proportion"


def _missed(axis: Axis, point: Measured) -> str:
    why = f" ({point.missed})" if isinstance(point, NetworkPoint) and point.missed else ""
    return f"{_place(axis, point.at)} was not reached{why}"


def _place(axis: Axis, at: int) -> str:
    return f"frame {at:,}" if axis == "frames" else f"{at:,} {UNITS[axis]}"
