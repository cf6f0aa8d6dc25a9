"""What a run asks of accelerate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from memx.engine.accelerator import make_accelerator, refuse_precision
from memx.engine.run import RunFolder
from memx.engine.train import Trainer
from memx.errors import UserError
from memx.recipe import Recipe


@pytest.mark.parametrize(("device", "chosen"), [("cuda", []), ("cuda:1", ["cuda:1"]), ("cpu", []), ("cpu:0", [])])
def test_a_gpu_is_chosen_where_its_number_is_given(
    device: str, chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a number it is accelerate that gives every process its own; torch refuses to be given none."""
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda chosen: asked.append(str(chosen)))

    class Accelerator:
        def __init__(self, **words: Any):
            self.device = torch.device(device)
            assert words["cpu"] == device.startswith("cpu")

    monkeypatch.setattr("accelerate.Accelerator", Accelerator)
    make_accelerator(Recipe.load("gdkvm_phantom").train, device)
    assert asked == chosen


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_half_precision_needs_a_gpu(device: str) -> None:
    with pytest.raises(UserError, match=r"train\.precision=fp16 needs a GPU; on the CPU take bf16 or fp32"):
        refuse_precision(Recipe.load("gdkvm_phantom", ["train.precision=fp16"]).train, device)
    refuse_precision(Recipe.load("gdkvm_phantom", ["train.precision=bf16"]).train, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_and_goes_on(
    precision: str, phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(phantom_root, f"train.precision={precision}", "train.ema=0.9")
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"), device="cuda")
    trainer.run()
    resumed = Trainer(recipe, RunFolder.open(tmp_path / "run"), device="cuda")
    resumed.restore()
    for one, other in zip(trainer.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
