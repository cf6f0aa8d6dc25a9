"""Training: a run folder complete enough to be loaded and judged alone, and resumable to the bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import memx
from memx.engine.checkpoint import load_training_state, read_weights
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.errors import CheckpointError, UserError
from memx.recipe import Recipe

TINY = [
    "model.image_encoder.width=8",
    "model.value_encoder.width=8",
    "model.key_dim=8",
    "model.value_dim=16",
    "model.pixel_dim=16",
    "model.sensory_dim=16",
    "model.refiner={type: object_transformer, blocks: 1, heads: 2, queries: 4, ffn_dim: 32}",
    "data.size=32",
    "data.frames=3",
    "train.batch=2",
    "train.iterations=4",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.warmup=0",
    "loss.points=64",
]


def tiny(root: Path, *overrides: str) -> Recipe:
    return Recipe.load("gdkvm_phantom", [f"data.root={root}", *TINY, *overrides])


@pytest.fixture(scope="module")
def finished(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    recipe = tiny(phantom_root)
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path_factory.mktemp("runs") / "whole"))
    trainer.run()
    return trainer


def test_a_run_folder_holds_what_it_should(finished: Trainer) -> None:
    folder = finished.folder.path
    assert {p.name for p in folder.iterdir()} == {
        "recipe.yaml",
        "manifest.json",
        "model.safetensors",
        "last",
        "history.csv",
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["recipe_hash"] == finished.recipe.hash
    assert manifest["data"]["cases"]["train"] > 0
    assert len(manifest["data"]["fingerprint"]) == 64
    assert {"memx", "python", "device", "backends", "libraries"} <= set(manifest["environment"])
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3, 4]
    assert rows[1]["validation_dice"]
    assert not rows[0]["validation_dice"]
    assert not list(folder.rglob(".part-*"))


def test_a_run_can_be_loaded_alone(finished: Trainer) -> None:
    folder = finished.folder.path
    video = torch.rand(1, 2, 1, 32, 32)
    outputs = [memx.load(p)(video).masks for p in (folder, folder / "model.safetensors")]  # type: ignore[attr-defined]
    assert torch.equal(outputs[0], outputs[1])
    assert RunFolder.open(folder).recipe.hash == finished.recipe.hash


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resuming_gives_what_an_unbroken_run_gives(phantom_root: Path, tmp_path: Path, precision: str) -> None:
    recipe = tiny(phantom_root, f"train.precision={precision}")
    whole = Trainer(recipe, RunFolder.create(recipe, tmp_path / "whole"))
    whole.run()

    def stop(step: Step) -> None:
        if step.iteration == 3:
            raise RuntimeError("killed")

    broken = Trainer(recipe, RunFolder.create(recipe, tmp_path / "broken"), on_step=stop)
    with pytest.raises(RuntimeError, match="killed"):
        broken.run()
    torch.manual_seed(99)
    resumed = Trainer(recipe, RunFolder.open(tmp_path / "broken"))
    resumed.restore()
    assert resumed.iteration == 2
    resumed.run()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    kept = [name for name in whole.history.rows[0] if name != "seconds"]
    rows = [[{k: row.get(k) for k in kept} for row in t.history.rows] for t in (whole, resumed)]
    assert rows[0] == rows[1]


def test_training_reduces_the_loss(phantom_root: Path, tmp_path: Path) -> None:
    words = ["train.iterations=40", "train.validate_every=0", "train.learning_rate=3e-3", "loss.points=null"]
    recipe = tiny(phantom_root, *words, "train.batch=4", "data.augment=[]", "train.checkpoint_every=100")
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    trainer.run()
    _, losses = trainer.history.series("loss")
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_ctrl_c_saves_and_says_how_to_go_on(phantom_root: Path, tmp_path: Path) -> None:
    def interrupt(step: Step) -> None:
        if step.iteration == 1:
            raise KeyboardInterrupt

    recipe = tiny(phantom_root)
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"), on_step=interrupt)
    with pytest.raises(UserError, match=r"interrupted after 1 of 4 steps; go on with: memx train --resume .*run"):
        trainer.run()
    assert load_training_state(tmp_path / "run" / "last" / "training_state.pt")["iteration"] == 1


def test_a_nan_loss_stops_early_and_says_what_to_try(phantom_root: Path, tmp_path: Path) -> None:
    recipe = tiny(phantom_root)
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    loss = trainer.loss

    def broken(*args: Any) -> dict[str, torch.Tensor]:
        found = loss(*args)
        return found | {"total": found["total"] * float("nan")} if trainer.iteration == 2 else found

    trainer.loss = broken
    with pytest.raises(UserError, match=r"the loss became nan at step 3 of 4 .*(?s:.*)learning_rate") as caught:
        trainer.run()
    assert "last good state" in str(caught.value)
    assert load_training_state(tmp_path / "run" / "last" / "training_state.pt")["iteration"] == 2


def test_a_run_is_never_written_over(finished: Trainer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is a run here already"):
        RunFolder.create(finished.recipe, finished.folder.path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty and no run"):
        RunFolder.create(finished.recipe, tmp_path / "other")


def test_a_checkpoint_of_another_recipe_is_refused(finished: Trainer, phantom_root: Path, tmp_path: Path) -> None:
    other = tiny(phantom_root, "train.learning_rate=0.5")
    folder = RunFolder.create(other, tmp_path / "run")
    (folder.path / "last").mkdir()
    folder.training_state.write_bytes(finished.folder.training_state.read_bytes())
    with pytest.raises(CheckpointError, match="was written for recipe"):
        Trainer(other, folder).restore()

    smaller = tiny(phantom_root, "model.key_dim=4")
    folder = RunFolder.create(smaller, tmp_path / "smaller")
    folder.best_weights.write_bytes(finished.folder.best_weights.read_bytes())
    with pytest.raises(CheckpointError, match="written for another model"):
        memx.load(folder.path)


def test_missing_surplus_and_misshapen_tensors_are_named(finished: Trainer, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors, header = read_weights(finished.folder.best_weights)
    del tensors["pixel_proj.bias"]
    tensors["pixel_proj.biass"] = torch.zeros(1)
    tensors["pixel_proj.weight"] = torch.zeros(3)
    save_file(tensors, tmp_path / "x.safetensors", metadata=header)
    with pytest.raises(CheckpointError) as caught:
        memx.load(tmp_path / "x.safetensors")
    message = str(caught.value)
    assert "missing: pixel_proj.bias [16]" in message
    assert "surplus: pixel_proj.biass [1]" in message
    assert "shape: pixel_proj.weight is [3], the model wants [16, " in message


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_damaged_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors: not a safetensors checkpoint"):
        memx.load(tmp_path / "x.safetensors")
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or unsafe"):
        load_training_state(tmp_path / "state.pt")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "touched").touch, ())

    torch.save({"x": Evil()}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="unsafe"):
        load_training_state(tmp_path / "state.pt")
    assert not (tmp_path / "touched").exists()


def test_nothing_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder"):
        memx.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"it has no recipe\.yaml"):
        memx.load(tmp_path)
    with pytest.raises(CheckpointError, match="start without --resume"):
        load_training_state(tmp_path / "none.pt")


def test_a_full_disk_keeps_the_last_good_checkpoint(finished: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = finished.folder.training_state.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="the disk is full"):
        finished.save()
    assert finished.folder.training_state.read_bytes() == before
    assert not list(finished.folder.path.rglob(".part-*"))
