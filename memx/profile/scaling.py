"""What a memory costs as clips get longer, objects more, frames larger and states wider: memories side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from memx.memory.base import Memory, Shape, Tokens
from memx.memory.state import State
from memx.profile.resident import is_full
from memx.profile.timing import in_turns, paired_ratios

Axis = Literal["frames", "objects", "size", "state"]
PLACES: dict[Axis, tuple[int, ...]] = {
    "frames": (10, 100, 1000, 10_000),
    "objects": (1, 2, 4, 8),
    "size": (8, 16, 32, 64),
    "state": (16, 32, 64, 128, 256),
}
"""Where an axis is looked at unless said."""
UNITS: dict[Axis, str] = {
    "frames": "frames seen",
    "objects": "objects",
    "size": "tokens along a side",
    "state": "key channels",
}


@dataclass(frozen=True)
class Facts:
    """What a model tells its memory, and the frames that it is shown.

    grid  (y, x) tokens of a frame
    """

    key_dim: int
    value_dim: int
    feature_dim: int
    grid: tuple[int, int]
    objects: int = 1
    device: str = "cpu"

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def frame(self, seed: int) -> Tokens:
        """A frame of random tokens, keys and queries of unit variance."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(self.device)

        return Tokens(
            key=draw(1, self.tokens, self.key_dim),
            query=draw(1, self.tokens, self.key_dim),
            value=draw(1, self.objects, self.tokens, self.value_dim),
            feature=draw(1, self.tokens, self.feature_dim),
            size=self.grid,
        )


Make = Callable[[Facts], Memory]
"""A memory for these facts, with weights of its own."""


@dataclass(frozen=True)
class Point:
    """One memory at one place of an axis.

    at           the place: frames seen so far, objects, the side of a frame in tokens, or key channels
    seconds      median of one streamed frame, None where it was not reached within the budget
    ratio        median over rounds of that frame's time over the first place's, in the same round
    state_bytes  after that frame
    macs         of that frame, by the memory's own formula; None without one
    """

    memory: str
    at: int
    seconds: float | None
    ratio: float | None
    state_bytes: int | None
    macs: int | None


@torch.no_grad()
def scale(
    memories: Mapping[str, Make],
    facts: Facts,
    axis: Axis,
    places: Sequence[int],
    *,
    rounds: int = 20,
    budget: float = 30.0,
) -> Iterator[Point]:
    """Time a frame of each memory at every place of an axis, the places of one memory in turns.

    frames   a frame after so many others; what lies between is written only
    objects  so many objects, tenth frame
    size     frames of so many tokens along each side, tenth frame
    state    so many key channels, tenth frame

    budget  seconds that a memory may take to see its frames at one place; the places beyond are not reached, nor those
            from the first on that does not fit into the device's memory
    """
    for name, make in memories.items():
        calls: dict[int, Callable[[], object]] = {}
        states: dict[int, int] = {}
        costs: dict[int, int | None] = {}
        try:
            for place, here, memory, state, seen in _places(make, facts, axis, places, budget):
                frame = here.frame(seen)
                states[place] = memory.step(state, frame)[1].nbytes
                costs[place] = _macs(memory, here, seen)
                calls[place] = partial(memory.step, state, frame)
        except RuntimeError as error:
            if not is_full(error):
                raise
        samples = {str(place): call for place, call in calls.items()}
        times = in_turns(samples, rounds, device=facts.device, budget=budget) if samples else {}
        first = times[str(places[0])].seconds if samples else ()
        for place in places:
            taken = times[str(place)].seconds if place in calls else ()
            ratios = paired_ratios(taken, first)
            yield Point(name, place, _median(taken), _median(ratios), states.get(place), costs.get(place))


def _places(
    make: Make, facts: Facts, axis: Axis, places: Sequence[int], budget: float
) -> Iterator[tuple[int, Facts, Memory, State, int]]:
    """Each place that is reached: the facts there, the memory, its state, and how many frames that has seen."""
    if axis == "frames":
        memory = make(facts).to(facts.device).eval()
        state, seen = memory.init_state(1, facts.objects, device=facts.device), 0
        for place in places:
            state = _see(memory, state, facts, range(seen, place - 1), budget)
            if state is None:
                return
            seen = place - 1
            yield place, facts, memory, state, seen
        return
    for place in places:
        here = at(facts, axis, place)
        memory = make(here).to(facts.device).eval()
        state = memory.init_state(1, here.objects, device=facts.device)
        state = _see(memory, state, here, range(9), budget)
        if state is None:
            return
        yield place, here, memory, state, 9


def at(facts: Facts, axis: Axis, place: int) -> Facts:
    """The facts at a place of an axis."""
    if axis == "objects":
        return replace(facts, objects=place)
    if axis == "size":
        return replace(facts, grid=(place, place))
    return replace(facts, key_dim=place) if axis == "state" else facts


def _see(memory: Memory, state: State, facts: Facts, frames: range, budget: float) -> State | None:
    """The state after these frames; None where they take longer than the budget."""
    started = time.perf_counter()
    shown = [facts.frame(seed) for seed in range(min(8, len(frames)))]
    for t in frames:
        state = memory.write(state, shown[t % len(shown)])
        if time.perf_counter() - started > budget:
            return None
    return state


def _macs(memory: Memory, facts: Facts, seen: int) -> int | None:
    try:
        before, after = (
            memory.cost(Shape(frames=frames, objects=facts.objects, tokens=facts.tokens)) for frames in (seen, seen + 1)
        )
    except NotImplementedError:
        return None
    return (after.macs + after.uncounted_macs) - (before.macs + before.uncounted_macs)


def _median(values: Sequence[float]) -> float | None:
    return float(torch.tensor(values, dtype=torch.float64).median()) if len(values) else None
