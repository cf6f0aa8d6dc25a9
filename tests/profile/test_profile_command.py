"""`memx profile`, as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TINY = ["gdkvm_phantom", "data.size=32", "data.frames=2", "train.batch=2"]


def test_everything_without_an_option(command) -> None:
    status, out, err = command("profile", *TINY, "--rounds", "1")
    assert status == 0, err
    for words in (
        "1,400,428 parameters, 32 × 32, 1 object, fp32 on",
        "arithmetic",
        "sensory_head",
        "not used",
        "torch.utils.flop_counter",
        "fvcore",
        "the memory declares",
        "frame by frame",
        "clip at once",
        "where the time goes",
        "state after the clip",
    ):
        assert words in out
    found = re.search(r"the memory declares ([\d.]+) M; counted ([\d.]+) M", out)
    assert found is not None
    assert found[1] == found[2]


@pytest.mark.parametrize(
    ("option", "there", "not_there"),
    [
        ("--flops", "arithmetic", ("frame by frame", "state after")),
        ("--fps", "where the time goes", ("M MACs", "state after")),
        ("--memory", "state after the clip", ("arithmetic", "where the time goes")),
    ],
)
def test_one_part_alone(command, option: str, there: str, not_there: tuple[str, ...]) -> None:
    status, out, err = command("profile", *TINY, option, "--rounds", "1")
    assert status == 0, err
    assert there in out
    assert not any(words in out for words in not_there)


def test_json_has_every_level(command, tmp_path: Path) -> None:
    """With places of an axis, and as the file has it."""
    axis = (
        "--flops",
        "--fps",
        "--memory",
        "--scaling",
        "frames",
        "--beside",
        "softmax",
        "--place",
        "2",
        "--place",
        "3",
    )
    status, out, err = command("profile", *TINY, *axis, "--json", "--rounds", "1", "--batch", "3", "--out", tmp_path)
    assert status == 0, err
    data = json.loads(out)
    assert (tmp_path / "profile.json").read_text(encoding="utf-8") == out
    frame = data["arithmetic"]["frame"]
    assert sum(part["flops"] for part in frame["parts"]) <= frame["flops"]
    assert frame["parts"][0]["parts"], "every level"
    assert {(item["mode"], item["batch"]) for item in data["speed"]} == {("stream", 3), ("clip", 3)}
    for item in data["speed"]:
        assert item["fps"] == pytest.approx(3000 / item["ms_per_frame"])
    assert data["environment"]["processor"]


def test_depth_opens_the_tree(command) -> None:
    shallow, deep = (command("profile", *TINY, "--flops", "--depth", str(depth))[1] for depth in (1, 2))
    assert "out_proj" not in shallow
    assert len(deep.splitlines()) > len(shallow.splitlines()) + 5


def test_a_runs_weights_are_profiled(command, tmp_path: Path) -> None:
    import memx
    from memx.engine.checkpoint import save_weights
    from memx.recipe import Recipe

    recipe = Recipe.load(TINY[0], TINY[1:])
    save_weights(tmp_path / "w.safetensors", memx.build(recipe), recipe)
    status, out, err = command("profile", tmp_path / "w.safetensors", "--memory", "--rounds", "1")
    assert status == 0, err
    assert recipe.hash in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere"),
        (["gdkvm_phantom", "gdkvm_camus"], "one recipe or run at a time"),
        (["gdkvm_phantom", "--device", "gpu"], "--device gpu: not available here"),
        (["gdkvm_phantom", "--frames", "1"], "--frames"),
        (["gdkvm_phantom", "--place", "3"], "--place: has no effect without --scaling frames|objects|size|state"),
        (["gdkvm_phantom", "--fps", "--beside", "linear", "--place", "3"], "--place, --beside: has no effect without"),
        (["gdkvm_phantom", "--flops", "--compile"], "--compile: has no effect without --fps"),
        (["gdkvm"], "'gdkvm' is a system of the zoo"),
        (["FOLDER"], "is a folder, and no run"),
    ],
)
def test_mistakes(command, words: list[str], says: str, tmp_path: Path) -> None:
    status, _, err = command("profile", *(tmp_path if word == "FOLDER" else word for word in words))
    assert status == 2
    assert says in err
