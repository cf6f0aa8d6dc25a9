"""`memx bench data`: clips a second, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memx.profile.loading import Rate

SMALL = ("data.size=32", "data.frames=3", "train.batch=2")


def test_a_rate_is_clips_over_seconds() -> None:
    assert Rate(workers=0, augmented=True, clips=30, seconds=0.5).per_second == 60


def test_json_has_a_rate_for_each_number_of_workers_with_and_without_augmentation(command, phantom_root: Path) -> None:
    words = ("bench", "data", "gdkvm_phantom", f"data.root={phantom_root}", *SMALL, "--batches", "3", "--json")
    status, out, err = command(*words, "--workers", "0", "--workers", "1", "--device", "cpu")
    assert status == 0, err
    record = json.loads(out)
    assert record["recipe"] == "gdkvm_phantom"
    assert [(rate["augmented"], rate["workers"]) for rate in record["rates"]] == [
        (True, 0),
        (True, 1),
        (False, 0),
        (False, 1),
    ]
    for rate in record["rates"]:
        assert rate["clips"] == 6
        assert rate["clips_per_second"] == pytest.approx(6 / rate["seconds"])
    assert record["decoded_clips_per_second"] > 0
    assert 0 < record["step_seconds"]["median"] < record["rates"][0]["seconds"]
    assert len(record["load_average"]) == 3
    assert record["environment"]["libraries"]["torch"]


def test_the_table_names_what_was_measured(command, phantom_root: Path) -> None:
    words = ("bench", "data", "gdkvm_phantom", f"data.root={phantom_root}", *SMALL, "data.augment=[]", "--batches", "2")
    status, out, err = command(*words, "--workers", "0", "--device", "cpu", columns=100)
    assert status == 0, err
    for text in ("clips a second", "from files, by one process", "the step that does nothing, on cpu", "load average"):
        assert text in out
    assert "yes" not in out


def test_a_data_set_that_is_not_there_is_refused(command) -> None:
    status, _, err = command("bench", "data", "gdkvm_phantom", "data.root=nowhere")
    assert status == 2
    assert "nowhere" in err
