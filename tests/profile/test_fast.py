"""The optimised network is held to the plain one before it is timed, and timed in turns with it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from memx.models.build import build
from memx.models.optimize import blocks
from memx.profile.fast import compare
from memx.profile.fresh import settle
from memx.profile.speed import Job
from memx.recipe import Recipe

TINY = ["gdkvm_phantom", "data.size=32", "data.frames=2", "train.batch=2"]


@pytest.fixture
def job() -> Job:
    recipe = Recipe.load(TINY[0], TINY[1:])
    model, video = build(recipe), torch.rand(1, 3, 1, 32, 32)
    settle(model, video.expand(2, -1, -1, -1, -1), 1)
    return Job(model, video)


def test_both_modes_are_timed_round_by_round(job: Job) -> None:
    found = compare(job, rounds=3)
    assert [match.mode for match in found.matches] == ["stream", "clip"]
    for match in found.matches:
        assert match.plain.count == match.fast.count == match.speedup.count == 3
        assert match.speedup.p10 <= match.plain.p90 / match.fast.p10 * (1 + 1e-9)
        assert match.speedup.p90 >= match.plain.p10 / match.fast.p90 * (1 - 1e-9)
    data = found.as_dict()
    assert data["refused"] is None
    assert data["difference"] <= data["allowed"] == 1e-3
    assert data["matches"][0]["speedup"]["median"] == found.matches[0].speedup.median


def test_a_network_over_the_budget_has_its_first_call(job: Job) -> None:
    assert all(match.plain.count == 1 for match in compare(job, rounds=3, budget=1e-6).matches)


def test_wrong_masks_are_not_timed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks._UpsampleBlock, "forward", lambda self, x, skip: 10 + 0 * self.proj(skip)[:, None])
    found = compare(job)
    assert not found.matches
    assert found.as_dict()["refused"].startswith("its masks differ by")


def test_fresh_weights_settle() -> None:
    """Without statistics of its own, batch normalisation of fresh weights lets masks saturate."""
    recipe = Recipe.load(TINY[0], TINY[1:])
    model, video = build(recipe), torch.rand(2, 2, 1, 32, 32)
    seen: list[torch.Tensor] = []
    stem = model.get_submodule("image_encoder.bn1")
    stem.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    settle(model, video, 1)
    assert not any(module.training for module in model.modules())
    torch.testing.assert_close(stem.running_mean, seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(stem.running_var, seen[0].var((0, 2, 3)))
    assert stem.momentum == 0.1
    kept = stem.running_mean.clone()
    with torch.no_grad():
        model(video)
    assert torch.equal(stem.running_mean, kept)


@pytest.mark.parametrize("size", [16, 33])
def test_small_frames_and_padded_ones_can_be_profiled(command, size: int) -> None:
    words = (f"data.size={size}", "--flops", "--fps", "--rounds", "1", "--batch", "1")
    status, _, err = command("profile", "gdkvm_phantom", *words)
    assert status == 0, err


def test_mistakes_are_found_before_minutes_of_measuring(command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words, expected in (
        (["--out", tmp_path / "file"], "is a file"),
        (["--scaling", "frames", "--beside", "softmaxx"], "softmax"),
    ):
        status, out, err = command("profile", *TINY, "--fps", *words)
        assert status == 2
        assert expected in err
        assert not out


def test_the_table_the_json_and_the_page_have_it(command, tmp_path: Path) -> None:
    status, out, err = command("profile", *TINY, "--fps", "--rounds", "2", "--batch", "1", "--out", tmp_path)
    assert status == 0, err
    assert "optimised beside plain" in out
    assert "optimised: convolutions with folded normalisation, channels-last" in out
    assert "of the plain network's over 3 frames (at most 1.0e-03 allowed)" in out
    data = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["optimised"]
    rows = list(csv.DictReader((tmp_path / "optimised.csv").open(encoding="utf-8")))
    assert [float(row["speedup"]) for row in rows] == [match["speedup"]["median"] for match in data["matches"]]
    assert (tmp_path / "optimised.png").is_file()
    assert "Optimised beside plain" in (tmp_path / "report.html").read_text(encoding="utf-8")
