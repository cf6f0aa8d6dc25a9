"""What a streamed frame of a whole network costs after many others, with many objects, and on large frames."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from memx.memory.state import State
from memx.models.base import VideoModel
from memx.profile.resident import allocated_bytes, is_full, release_freed, resident_bytes
from memx.profile.scaling import Axis
from memx.profile.speed import Job
from memx.profile.timing import Quantiles, in_turns, paired_ratios, synchronise

WARM_UP = 10
"""Frames that a network streams and forgets first, so that what is made once only is there at the first place."""

BEFORE = 9
"""Frames that a network has seen at each place of an axis other than `frames`: the tenth is timed."""

_SHOWN = 8


@dataclass(frozen=True)
class NetworkPoint:
    """One network at one place of an axis; what is None was not reached, or is not known on this system.

    memory           the network's memory
    at               frames seen with the one that is timed, objects, or the side of a frame in tokens
    seconds          median of one streamed frame
    ratio            median over rounds of that frame's time over the first place's, in the same round
    state_bytes      of the network's whole state after that frame
    resident_bytes   of the process then (RSS)
    allocated_bytes  of tensors on the CUDA device then
    missed           why the place was not reached; empty where it was
    """

    memory: str
    at: int
    seconds: float | None = None
    ratio: float | None = None
    state_bytes: int | None = None
    resident_bytes: int | None = None
    allocated_bytes: int | None = None
    missed: str = ""


@dataclass(frozen=True)
class Scene:
    """What the networks are shown: frames (c, y, x) of random values, in evaluation mode, batch 1."""

    channels: int
    size: tuple[int, int]
    objects: int = 1
    device: str = "cpu"
    precision: str = "fp32"

    def job(self, model: VideoModel, axis: Axis, place: int) -> Job:
        """A network and its frames at a place of an axis."""
        size = (place * model.stride, place * model.stride) if axis == "size" else self.size
        generator = torch.Generator().manual_seed(0)
        video = torch.rand(1, _SHOWN, self.channels, *size, generator=generator).to(self.device)
        return Job(model, video, place if axis == "objects" else self.objects, self.precision)


class _MissedError(Exception):
    """A place cannot be reached; the message says why."""


def endure(
    networks: Mapping[str, Callable[[], VideoModel]],
    scene: Scene,
    axis: Axis,
    places: Sequence[int],
    *,
    rounds: int = 20,
    budget: float = 30.0,
) -> Iterator[NetworkPoint]:
    """Stream each network along an axis; every place's frame is timed in turns with the first place's.

    frames   one clip, frame after frame: the frame that is the `place`-th of it
    objects  so many objects, the tenth frame
    size     frames of so many tokens along each side, the tenth frame

    A copy of the first place's state is kept, so that both frames of a round meet the machine as it is then. Memory is
    read after the timed calls, when nothing but weights, frames and those two states is held.
    places  in ascending order
    budget  seconds that a network may take to see the frames before one place, and for the calls of each of the two
            that are timed there; what is beyond, or does not fit into the device's memory, is not reached
    Raises ValueError for the axis `state`, which is a memory's, and for places that do not ascend.
    """
    if axis == "state":
        raise ValueError("endure: the axis 'state' is a memory's; a network has frames, objects and size")
    if list(places) != sorted(set(places)):
        raise ValueError(f"endure: places must ascend, got {list(places)}")
    for name, make in networks.items():
        release_freed()
        yield from _along(name, make().to(scene.device).eval(), scene, axis, places, rounds, budget)


def _along(
    name: str, model: VideoModel, scene: Scene, axis: Axis, places: Sequence[int], rounds: int, budget: float
) -> Iterator[NetworkPoint]:
    """One network at all places; from the first that is not reached on, none is."""
    reached = _stream(model, scene, places, budget) if axis == "frames" else _apart(model, scene, axis, places, budget)
    first: Callable[[], State] | None = None
    for number, place in enumerate(places):
        try:
            job, state = next(reached)
            frame = _frame(job, state.clone() if first is None else state, place - 1 if axis == "frames" else BEFORE)
            first = first or frame
            yield _measured(name, place, frame, first, scene.device, rounds, budget)
        except (_MissedError, RuntimeError) as error:
            if not isinstance(error, _MissedError) and not is_full(error):
                raise
            why = str(error) if isinstance(error, _MissedError) else f"the memory of {scene.device} is full"
            yield from (NetworkPoint(name, later, missed=why) for later in places[number:])
            return


def _frame(job: Job, state: State, t: int) -> Callable[[], State]:
    return lambda: job.step(t % _SHOWN, state)


def _measured(
    name: str,
    place: int,
    frame: Callable[[], State],
    first: Callable[[], State],
    device: str,
    rounds: int,
    budget: float,
) -> NetworkPoint:
    calls = {"here": frame} if frame is first else {"first": first, "here": frame}
    times = in_turns(calls, rounds, device=device, budget=budget)
    here = times["here"].seconds
    ratios = [1.0] if frame is first else paired_ratios(here, times["first"].seconds)
    if not here or not ratios:
        raise _MissedError(f"a frame takes longer than {budget:g} s")
    state_bytes = frame().nbytes
    gc.collect()
    return NetworkPoint(
        name,
        place,
        Quantiles.of(here).median,
        Quantiles.of(ratios).median,
        state_bytes,
        resident_bytes(),
        allocated_bytes(device),
    )


def _stream(model: VideoModel, scene: Scene, places: Sequence[int], budget: float) -> Iterator[tuple[Job, State]]:
    """The state before the frame that is the `place`-th of one clip, place after place."""
    job = scene.job(model, "frames", 1)
    _see(job, job.start(), range(WARM_UP), budget)
    state, seen = job.start(), 0
    for place in places:
        state = _see(job, state, range(seen, place - 1), budget)
        seen = place - 1
        yield job, state


def _apart(
    model: VideoModel, scene: Scene, axis: Axis, places: Sequence[int], budget: float
) -> Iterator[tuple[Job, State]]:
    """The state before the tenth frame, each place with a clip of its own."""
    identities = getattr(model, "identities", None)
    for place in places:
        if axis == "objects" and identities is not None and place > identities:
            raise _MissedError(f"the network tells at most {identities} apart, its model.identities")
        job = scene.job(model, axis, place)
        yield job, _see(job, job.start(), range(BEFORE), budget)


def _see(job: Job, state: State, frames: range, budget: float) -> State:
    """The state after these frames."""
    started = time.perf_counter()
    for t in frames:
        state = job.step(t % _SHOWN, state)
        synchronise(job.device)
        if time.perf_counter() - started > budget:
            raise _MissedError(f"{budget:g} s were not enough")
    return state
