"""Training: a run folder complete enough to be loaded and judged alone, and resumable to the bit."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import memx
from memx.engine.checkpoint import load_training_state, read_weights
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.errors import CheckpointError, DataError, InterruptedRunError, UserError
from memx.recipe import Recipe

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def finished(tiny: Tiny, phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
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
        "tensorboard",
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


def test_how_scores_are_taken_has_no_say_in_which_weights_are_kept(
    tiny: Tiny, finished: Trainer, tmp_path: Path
) -> None:
    """The hash of a recipe leaves `evaluate` out."""
    words = ["evaluate.frames=all", "evaluate.masks=ends", "evaluate.protocol=gdkvm-release-2025"]
    assert finished.recipe.data.root is not None
    recipe = tiny(finished.recipe.data.root, *words)
    assert recipe.hash == finished.recipe.hash
    other = Trainer(recipe, RunFolder.create(recipe, tmp_path / "other"))
    other.run()
    assert other.history.series("validation_dice") == finished.history.series("validation_dice")


def test_a_run_can_be_loaded_alone(finished: Trainer) -> None:
    folder = finished.folder.path
    video = torch.rand(1, 2, 1, 32, 32)
    outputs = [memx.load(p)(video).masks for p in (folder, folder / "model.safetensors")]  # type: ignore[attr-defined]
    assert torch.equal(outputs[0], outputs[1])
    assert RunFolder.open(folder).recipe.hash == finished.recipe.hash


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resuming_gives_what_an_unbroken_run_gives(
    tiny: Tiny, phantom_root: Path, tmp_path: Path, precision: str
) -> None:
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


def test_training_reduces_the_loss(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    words = ["train.iterations=40", "train.validate_every=0", "train.learning_rate=3e-3", "loss.points=null"]
    recipe = tiny(phantom_root, *words, "train.batch=4", "data.augment=[]", "train.checkpoint_every=100")
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    trainer.run()
    _, losses = trainer.history.series("loss")
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_ctrl_c_ends_after_the_step_and_the_rest_is_as_if_nothing_had_happened(
    tiny: Tiny, phantom_root: Path, tmp_path: Path, finished: Trainer
) -> None:
    """The signal comes within the second step, which validates: the worst moment there is."""
    recipe = tiny(phantom_root)
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    step = trainer.optimizer.step

    def interrupted(*args: Any) -> Any:
        if trainer.iteration == 1:
            signal.raise_signal(signal.SIGINT)
        return step(*args)

    trainer.optimizer.step = interrupted
    with pytest.raises(
        InterruptedRunError, match=r"after 2 of 4 steps; go on with: memx train --resume .*run"
    ) as caught:
        trainer.run()
    assert caught.value.status == 130
    resumed = Trainer(recipe, RunFolder.open(tmp_path / "run"))
    resumed.restore()
    resumed.run()
    for name, tensor in finished.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert [row["validation_dice"] for row in resumed.history.rows] == [
        row["validation_dice"] for row in finished.history.rows
    ]


def test_a_second_ctrl_c_ends_at_once(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    def twice(step: Step) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    recipe = tiny(phantom_root)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"), on_step=twice).run()


def test_other_data_are_not_gone_on_with(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    from memx.data import phantom

    recipe = tiny(phantom_root, "train.iterations=1")
    Trainer(recipe, RunFolder.create(recipe, tmp_path / "run")).run()
    phantom.write(tmp_path / "other", layout="camus", patients=3, seed=8, size=64)
    other = tiny(tmp_path / "other", "train.iterations=1")
    resumed = Trainer(other, RunFolder.open(tmp_path / "run"))
    resumed.restore()
    with pytest.raises(UserError, match="not the data that this run began with"):
        resumed.run()


def test_an_error_in_a_worker_is_one_clear_message(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "bad"
    shutil.copytree(phantom_root, root)
    recipe = tiny(root, "data.workers=1", "train.validate_every=0")
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    for path in root.rglob("*half_sequence_gt.nii.gz"):
        path.write_bytes(b"cut short")
    with pytest.raises(DataError) as caught:
        next(trainer._batches())
    assert "half_sequence_gt.nii.gz" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_half_precision_needs_a_gpu(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    recipe = tiny(phantom_root, "train.precision=fp16")
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))


@pytest.mark.usefixtures("own_registry")
def test_an_option_that_is_new_does_no_harm_to_old_runs(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    """A component that has gained an option with a default since a run was made still loads and resumes it."""
    from memx.registry import fusions

    def made(**options: float) -> torch.nn.Module:
        class Plain(torch.nn.Module):
            def __init__(self, x_dim: int, y_dim: int, out_dim: int, *, old: float = 1.0):
                super().__init__()
                self.project = torch.nn.Conv2d(x_dim, out_dim, 1)

            def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
                return self.project(x)

        class Newer(Plain):
            def __init__(self, x_dim: int, y_dim: int, out_dim: int, *, old: float = 1.0, new: int = 3):
                super().__init__(x_dim, y_dim, out_dim, old=old)

        return Newer if options else Plain  # type: ignore[return-value]

    fusions.register("grows")(made())
    words = ["model.key_fusion=grows", "train.iterations=1"]
    recipe = tiny(phantom_root, *words)
    Trainer(recipe, RunFolder.create(recipe, tmp_path / "run")).run()
    fusions._entries.pop("grows")
    fusions.register("grows")(made(new=1))
    video = torch.rand(1, 2, 1, 32, 32)
    assert torch.isfinite(memx.load(tmp_path / "run")(video).masks).all()
    Trainer(RunFolder.open(tmp_path / "run").recipe, RunFolder.open(tmp_path / "run")).restore()


def test_a_nan_loss_stops_early_and_says_what_to_try(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    recipe = tiny(phantom_root)
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    loss = trainer.loss.forward

    def broken(*args: Any) -> dict[str, torch.Tensor]:
        found = loss(*args)
        return found | {"total": found["total"] * float("nan")} if trainer.iteration == 2 else found

    trainer.loss.forward = broken
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


def test_a_checkpoint_of_another_recipe_is_refused(
    tiny: Tiny, finished: Trainer, phantom_root: Path, tmp_path: Path
) -> None:
    other = tiny(phantom_root, "train.learning_rate=0.5")
    folder = RunFolder.create(other, tmp_path / "run")
    (folder.path / "last").mkdir()
    folder.training_state.write_bytes(finished.folder.training_state.read_bytes())
    with pytest.raises(CheckpointError, match=r"was written for recipe .* differ in train\.learning_rate"):
        Trainer(other, folder).restore()

    smaller = tiny(phantom_root, "model.key_dim=4")
    folder = RunFolder.create(smaller, tmp_path / "smaller")
    folder.best_weights.write_bytes(finished.folder.best_weights.read_bytes())
    with pytest.raises(
        CheckpointError, match=r"written for another model; it differs from the recipe's in model\.key_dim"
    ):
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

    def full(self: Path, data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="the disk is full"):
        finished.save()
    assert finished.folder.training_state.read_bytes() == before
    assert not list(finished.folder.path.rglob(".part-*"))
