"""Whole networks over long clips: a recurrent one stays as it is, one that keeps frames is seen to grow."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import memx
from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.profile import resident
from memx.profile.endurance import NetworkPoint, Scene, endure
from memx.profile.resident import allocated_bytes, resident_bytes
from memx.profile.scaling import Axis, Point
from memx.profile.verdicts import Verdict, verdicts
from memx.recipe import Recipe

SLACK = 3 * 2**20
"""Bytes by which the process may grow over 990 frames: fewer than a mask of each, 32 × 32 in float32, would
take."""

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")


@pytest.fixture(scope="module")
def words(tiny_words: list[str]) -> list[str]:
    return [*tiny_words, "model.decoder.dim=8", "model.refiner=null"]


@pytest.fixture
def network(words: list[str]) -> Callable[..., VideoModel]:
    return lambda *overrides: memx.build(Recipe.load("gdkvm_phantom", [*words, *overrides]))


def points(networks, places, *, axis: Axis = "frames", size=(32, 32), **options) -> dict[str, list[NetworkPoint]]:
    found: dict[str, list[NetworkPoint]] = {}
    for point in endure(networks, Scene(1, size), axis, places, rounds=3, **options):
        found.setdefault(point.memory, []).append(point)
    return found


class Hoarder(VideoModel):
    """Keeps 64 KiB of every frame where no state shows it."""

    stride = 16
    identities = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.kept: list[torch.Tensor] = []

    def init_state(self, batch=1, objects=1, *, size=None, device=None, dtype=None) -> State:
        return State(seen=torch.zeros(batch, objects))

    def step(self, frame, state, *, auxiliary=None):
        self.kept.append(torch.ones(16 * 2**10))
        masks = frame[:, :1]
        return Output(masks, masks), State(seen=state.seen + 1)


ALONE = """
import dataclasses, json, sys
import memx
from memx.profile.endurance import Scene, endure
from memx.recipe import Recipe

networks = {"gated_delta": lambda: memx.build(Recipe.load("gdkvm_phantom", sys.argv[1:]))}
found = endure(networks, Scene(1, (32, 32)), "frames", (10, 100, 1000), rounds=3)
print(json.dumps([dataclasses.asdict(point) for point in found]))
"""
"""Streams the network in a process that has done nothing else: what other tests left to the allocator, it takes up
and gives back as it pleases."""


@pytest.fixture(scope="module")
def recurrent(words: list[str]) -> list[NetworkPoint]:
    command = [sys.executable, "-c", ALONE, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [NetworkPoint(**point) for point in json.loads(done.stdout)]


def test_a_recurrent_network_keeps_its_state_over_1000_frames(recurrent: list[NetworkPoint]) -> None:
    assert [point.at for point in recurrent] == [10, 100, 1000]
    assert len({point.state_bytes for point in recurrent}) == 1
    assert recurrent[0].ratio == 1
    assert all(point.seconds and point.ratio for point in recurrent)
    assert not any(point.missed for point in recurrent)


@needs_proc
def test_resident_memory_does_not_grow(recurrent: list[NetworkPoint]) -> None:
    first, *_, last = (point.resident_bytes for point in recurrent)
    assert first is not None
    assert last is not None
    assert last - first < SLACK


@needs_proc
def test_what_a_network_keeps_of_every_frame_is_seen() -> None:
    first, last = points({"hoarder": Hoarder}, (10, 600))["hoarder"]
    assert first.resident_bytes is not None
    assert last.resident_bytes is not None
    assert last.resident_bytes - first.resident_bytes > 590 * 60 * 2**10
    assert first.state_bytes == last.state_bytes


def test_a_softmax_memory_without_bound_grows_by_its_keys_and_values(network) -> None:
    networks = {"softmax": lambda: network("model.memory=softmax")}
    first, last = points(networks, (4, 24))["softmax"]
    assert first.state_bytes is not None
    assert last.state_bytes is not None
    tokens = (32 // 16) ** 2
    a_frame = tokens * (8 + 16) * 4 + 1  # float32 keys and values, and whether the slot is valid
    assert last.state_bytes - first.state_bytes == 20 * a_frame
    bounded = {"softmax": lambda: network("model.memory={type: softmax, capacity: 3}")}
    few, many = points(bounded, (4, 24))["softmax"]
    assert few.state_bytes == many.state_bytes


@pytest.mark.parametrize("axis", ["objects", "size"])
def test_other_axes_change_what_the_network_is_shown(network, axis) -> None:
    one, four = points({"gated_delta": network}, (1, 4), axis=axis)["gated_delta"]
    assert (one.state_bytes or 0) < (four.state_bytes or 0)
    # sizes: 16² pixels against 64²; objects: masks, memory and sensory state each times four
    wanted = 4 if axis == "objects" else 2
    assert (four.state_bytes or 0) >= wanted * (one.state_bytes or 0) * 0.99


def test_what_is_not_reached_is_said() -> None:
    reached, gone = points({"hoarder": Hoarder}, (2, 10**7), budget=0.2)["hoarder"]
    assert reached.seconds is not None
    assert gone == NetworkPoint("hoarder", 10**7, missed="0.2 s were not enough")
    *_, three = points({"hoarder": Hoarder}, (1, 3), axis="objects")["hoarder"]
    assert three.missed == "the network tells at most 2 apart, its model.identities"


def test_a_full_device_is_said() -> None:
    class Full(Hoarder):
        def step(self, frame, state, *, auxiliary=None):
            if state.seen.max() >= 20:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().step(frame, state)

    reached, gone, beyond = points({"full": Full}, (10, 100, 200))["full"]
    assert reached.seconds is not None
    assert gone.missed == beyond.missed == "the memory of cpu is full"


@pytest.mark.parametrize(("axis", "places"), [("state", (1, 2)), ("frames", (10, 5)), ("frames", (5, 5))])
def test_wrong_places_and_axes_are_refused(axis, places: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="endure: "):
        list(endure({"hoarder": Hoarder}, Scene(1, (16, 16)), axis, places))


@needs_proc
def test_resident_bytes_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = resident_bytes()
    held = torch.ones(32 * 2**20 // 4)
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(held.nbytes, rel=0.1)
    monkeypatch.setattr(resident, "_STATM", tmp_path / "nothing")
    assert resident_bytes() is None


def test_the_cpu_has_no_allocator_of_its_own_to_ask() -> None:
    assert allocated_bytes("cpu") is None


# Sentences.


def point(at: int, ratio: float | None, state: int | None, resident_mib: float | None = None) -> NetworkPoint:
    held = None if resident_mib is None else round(resident_mib * 2**20)
    return NetworkPoint("m", at, None if ratio is None else 0.01 * ratio, ratio, state, held)


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (
            point(1000, 0.99, 8192, 400.2),
            "m: frame 1,000 costs 0.99 × frame 10, state 8.00 KiB at both, resident memory +0.2 MiB on 400.0: flat",
        ),
        (
            point(1010, 75.0, 8192 + 48000 * 1024, 500.0),
            "m: frame 1,010 costs 75.0 × frame 10, state grows by 48.00 KiB a frame to 46.88 MiB, "
            "resident memory +100.0 MiB on 400.0: grows",
        ),
        (
            point(1000, 1.2, 8192, 500.0),
            "m: frame 1,000 costs 1.20 × frame 10, state 8.00 KiB at both, resident memory +100.0 MiB on 400.0: "
            "time and resident memory not within 5%",
        ),
        (
            point(1000, 1.2, 8192),
            "m: frame 1,000 costs 1.20 × frame 10, state 8.00 KiB at both: time not within 5%",
        ),
    ],
)
def test_sentences_about_frames(last: NetworkPoint, sentence: str) -> None:
    assert [str(item) for item in verdicts("frames", [point(10, 1.0, 8192, 400.0), last])] == [sentence]


def test_what_was_not_reached_stands_at_the_end() -> None:
    gone = NetworkPoint("m", 10_000, missed="5 s were not enough")
    (found,) = verdicts("frames", [point(10, 1.0, 8), point(100, 1.0, 8), gone])
    assert str(found).endswith(": flat; frame 10,000 was not reached (5 s were not enough)")
    (found,) = verdicts("frames", [point(10, 1.0, 8), gone])
    assert found == Verdict("m", "only frame 10 was reached", "", "frame 10,000 was not reached (5 s were not enough)")
    (found,) = verdicts("frames", [Point("m", 10, None, None, None, None)])
    assert str(found) == "m: nothing was reached; frame 10 was not reached"


@given(power=st.floats(0.0, 2.0), more=st.integers(2, 16), axis=st.sampled_from(["objects", "size", "state"]))
@settings(deadline=None, max_examples=30)
def test_other_axes_are_held_to_proportion(power: float, more: int, axis) -> None:
    grown = more**2 if axis == "size" else more
    last = Point("m", more, 1.0, math.pow(grown, power), 16, None)
    (found,) = verdicts(axis, [Point("m", 1, 1.0, 1.0, 8, None), last])
    if abs(power - 1) < 0.099:
        assert found.found == "in proportion"
    elif abs(power - 1) > 0.101:
        assert found.found == ("more" if power > 1 else "less") + " than in proportion"
    assert f"{grown:g} × the " in found.facts
