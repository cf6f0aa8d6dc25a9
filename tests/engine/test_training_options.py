"""Accumulation, averaging, clipping, precision: what they change, and that a run goes on with them to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import memx
from memx.engine.checkpoint import load_training_state, read_weights
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.losses import SegmentationLoss
from memx.models.clip_streams import clip_streams, rand_of_clips
from memx.models.output import Auxiliary, Output
from memx.recipe import Recipe

NO_BATCH_STATISTICS = ["model.image_encoder.norm=group", "model.value_encoder.norm=group"]
ALL = [
    "train.batch=4",
    "train.accumulate=2",
    "train.ema=0.9",
    "train.clip_norm=0.5",
    "train.precision=bf16",
    "train.schedule=cosine",
    "train.warmup=2",
    "train.deterministic=true",
    "model.mask_dropout=0.3",
    "data.sampling=window",
]


def trained(recipe: Recipe, folder: Path) -> Trainer:
    trainer = Trainer(recipe, RunFolder.create(recipe, folder))
    trainer.run()
    return trainer


def test_the_gradient_of_micro_batches_is_that_of_the_batch(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    """With random points, unequal numbers of labelled frames and blanked masks, to float32's rounding: 1e-4 of the
    largest. Losses agree to 1e-6."""
    gradients, losses = [], []
    for accumulate in (1, 2, 4):
        words = ["train.batch=4", f"train.accumulate={accumulate}", "train.clip_norm=null", "model.mask_dropout=0.3"]
        recipe = tiny(phantom_root, *NO_BATCH_STATISTICS, *words, "data.supervision=ends", "data.augment=[rotate]")
        trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / f"run{accumulate}"))
        batches = list(trainer.deal.load(recipe, trainer.data, 0, pin=False))[:accumulate]
        batches[0]["supervised"][0, :-1] = False
        values = trainer._step(batches)
        losses.append([values[name] for name in ("loss", "cross_entropy", "dice", "auxiliary")])
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))
    scale = float(gradients[0].abs().max())
    assert scale > 0
    for gradient, loss in zip(gradients[1:], losses[1:], strict=True):
        assert float((gradient - gradients[0]).abs().max()) < 1e-4 * scale
        assert loss == pytest.approx(losses[0], rel=1e-6)


def test_with_every_option_a_run_goes_on_to_the_bit(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(phantom_root, *ALL)
    whole = trained(recipe, tmp_path / "whole")

    def stop(step: Step) -> None:
        if step.iteration == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        Trainer(recipe, RunFolder.create(recipe, tmp_path / "broken"), on_step=stop).run()
    torch.manual_seed(99)
    resumed = Trainer(recipe, RunFolder.open(tmp_path / "broken"))
    resumed.restore()
    assert resumed.iteration == 2
    resumed.run()
    states = [load_training_state(t.folder.training_state) for t in (whole, resumed)]
    for part in ("model", "optimizer", "schedule", "average"):
        assert_equal(states[0][part], states[1][part], part)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]] for state in states]
    assert rows[0] == rows[1]
    assert not torch.are_deterministic_algorithms_enabled()


def assert_equal(first: object, second: object, place: str) -> None:
    if isinstance(first, torch.Tensor):
        assert isinstance(second, torch.Tensor)
        assert torch.equal(first, second), place
    elif isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key], f"{place}.{key}")
    else:
        assert first == second, place


def test_the_average_is_what_is_validated_and_kept(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    trainer = trained(tiny(phantom_root, "train.ema=0.9", "train.iterations=2"), tmp_path / "run")
    assert trainer.average is not None
    assert trainer.kept is trainer.average.model
    for path in (trainer.folder.best_weights, trainer.folder.last_weights):
        tensors, _ = read_weights(path)
        for name, tensor in trainer.average.model.state_dict().items():
            assert torch.equal(tensors[name], tensor), name
    weights = trainer.model.state_dict()["pixel_proj.weight"]
    assert not torch.equal(weights, trainer.average.model.state_dict()["pixel_proj.weight"])
    assert torch.equal(weights, load_training_state(trainer.folder.training_state)["model"]["pixel_proj.weight"])
    video = torch.rand(1, 2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(memx.load(tmp_path / "run")(video).masks, trainer.kept(video).masks)  # type: ignore[attr-defined]


def test_new_options_leave_the_identity_of_recipes_alone(phantom_root: Path, tiny: Callable[..., Recipe]) -> None:
    plain = tiny(phantom_root)
    assert plain.hash == tiny(phantom_root, "train.accumulate=1", "train.ema=null", "train.deterministic=false").hash
    assert not {"accumulate", "ema", "deterministic", "trackers"} & set(plain.decisive()["train"])
    for word in ("train.accumulate=2", "train.ema=0.9", "train.deterministic=true"):
        assert tiny(phantom_root, word).hash != plain.hash


def test_a_clips_random_numbers_do_not_depend_on_the_clips_beside_it() -> None:
    with clip_streams(5, [10, 11, 12]):
        together = [rand_of_clips([2, 0, 1], 3), rand_of_clips([1, 1, 1], 2)]
    with clip_streams(5, [12]):
        alone = [rand_of_clips([1], 3), rand_of_clips([1], 2)]
    assert torch.equal(alone[0], together[0][2:])
    assert torch.equal(alone[1], together[1][2:])
    with clip_streams(6, [12]):
        assert not torch.equal(rand_of_clips([1], 3), alone[0])
    with clip_streams(5, [1, 2]), pytest.raises(ValueError, match="rows of 3 clips were asked for; 2 clips"):
        rand_of_clips([1, 1, 1], 2)


def test_drawn_points_are_the_clips_own() -> None:
    """The loss of two clips, and the mean of the losses of each, weighted by labelled frames: equal to 1e-6."""
    torch.manual_seed(3)
    output = Output(torch.zeros(2, 3, 1, 8, 8), torch.randn(2, 3, 2, 8, 8), Auxiliary(torch.randn(2, 3, 2, 4, 4)))
    masks = (torch.rand(2, 3, 1, 8, 8) > 0.5).float()
    supervised = torch.tensor([[True, False, False], [True, True, True]])
    loss = SegmentationLoss(points=16)

    def part(clips: slice, places: list[int]) -> float:
        assert output.auxiliary is not None
        assert output.auxiliary.sensory is not None
        own = Output(output.masks[clips], output.logits[clips], Auxiliary(output.auxiliary.sensory[clips]))
        with clip_streams(0, places):
            return float(loss(own, masks[clips], supervised[clips])["total"])

    both, first, second = part(slice(0, 2), [4, 5]), part(slice(0, 1), [4]), part(slice(1, 2), [5])
    assert both == pytest.approx((first + 3 * second) / 4, rel=1e-6)
