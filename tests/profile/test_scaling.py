"""Recurrent memories stay as they are, softmax grows; a place that takes too long is not reached, and said so."""

from __future__ import annotations

import csv
import json
import re
from functools import partial
from pathlib import Path

import pytest

from memx.profile.scaling import Facts, Point, at, scale
from memx.registry import memories

FACTS = Facts(8, 8, 8, (2, 3))


def make(name: str, facts: Facts):
    return memories.build(
        name, {"key_dim": facts.key_dim, "value_dim": facts.value_dim, "feature_dim": facts.feature_dim}
    )


def points(*names: str, axis="frames", places=(2, 12), **options) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in scale({name: partial(make, name) for name in names}, FACTS, axis, places, rounds=2, **options):
        found.setdefault(point.memory, []).append(point)
    return found


@pytest.mark.parametrize("name", sorted(set(memories.names()) - {"none", "softmax"}))
def test_a_recurrent_memory_keeps_its_size_and_its_arithmetic(name: str) -> None:
    first, last = points(name)[name]
    assert (first.at, last.at) == (2, 12)
    assert first.state_bytes == last.state_bytes
    assert first.macs == last.macs
    assert first.ratio == 1
    assert last.seconds is not None


def test_softmax_grows_with_every_frame() -> None:
    first, last = points("softmax")["softmax"]
    assert last.macs == 6 * (first.macs or 0)
    assert last.state_bytes is not None
    assert first.state_bytes is not None
    slots = 6 * (8 + 8) * 4
    assert last.state_bytes - first.state_bytes == pytest.approx(10 * slots, rel=0.02)


@pytest.mark.parametrize(("axis", "grows"), [("objects", True), ("size", False), ("state", True)])
def test_other_axes_change_what_they_say(axis, grows: bool) -> None:
    few, many = points("linear", axis=axis, places=(2, 4))["linear"]
    assert (many.macs or 0) > (few.macs or 0)
    assert ((many.state_bytes or 0) > (few.state_bytes or 0)) == grows
    changed = at(FACTS, axis, 4)
    assert {"objects": changed.objects, "size": changed.grid, "state": changed.key_dim}[axis] in (4, (4, 4))


def test_what_is_over_the_budget_is_not_reached() -> None:
    reached, not_reached = points("linear", places=(2, 10**9), budget=0.2)["linear"]
    assert reached.seconds is not None
    assert (not_reached.seconds, not_reached.state_bytes, not_reached.ratio) == (None, None, None)


def test_the_command_writes_tables_and_plots(command, tmp_path: Path) -> None:
    words = ["gdkvm_phantom", "data.size=32", "--scaling", "frames", "--scaling", "state", "--beside", "softmax"]
    status, out, err = command("profile", *words, "--place", "4", "--place", "2", "--out", tmp_path / "out")
    assert status == 0, err
    assert "memory against frames seen" in out
    assert "memory against key channels" in out
    assert "network against frames seen" in out
    assert "network against key channels" not in out
    assert re.search(r"\nsoftmax: frame 4 costs .* frame 2, state grows by .* a frame to .*: grows\n", out)
    assert "arithmetic" not in out
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        "profile.json",
        "report.html",
        *(f"scaling_{axis}.{end}" for axis in ("frames", "frames_networks", "state") for end in ("csv", "png")),
    }
    with (tmp_path / "out" / "scaling_frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["memory"], row["at"]) for row in rows] == [
        (name, place) for name in ("gated_delta", "softmax") for place in ("2", "4")
    ]
    data = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert len(data["scaling"]["state"]) == 4
    networks = data["scaling_networks"]["frames"]
    assert [(point["memory"], point["at"]) for point in networks] == [(row["memory"], int(row["at"])) for row in rows]
    assert data["scaling_networks"]["state"] == []


def test_an_unknown_memory_is_refused(command) -> None:
    status, _, err = command("profile", "gdkvm_phantom", "--scaling", "frames", "--beside", "softmx")
    assert status == 2
    assert "did you mean 'softmax'" in err
