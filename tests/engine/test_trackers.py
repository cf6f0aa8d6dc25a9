"""Trackers: what they are given, that a run goes on in them, and what is said when one is not there."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from memx.engine.checkpoint import load_training_state
from memx.engine.run import RunFolder
from memx.engine.trackers import Trackers, check_trackers, flat
from memx.engine.train import Step, Trainer
from memx.errors import RecipeError, UserError
from memx.recipe import Recipe


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    return {name: [(e.step, e.value) for e in board.Scalars(name)] for name in board.Tags()["scalars"]}


def test_tensorboard_has_the_history_and_a_run_goes_on_in_it(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    """Ended after step 3 with a checkpoint of step 2, it has every step once."""

    def stop(step: Step) -> None:
        if step.iteration == 3:
            raise RuntimeError("killed")

    recipe = tiny(phantom_root)
    with pytest.raises(RuntimeError, match="killed"):
        Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"), on_step=stop).run()
    resumed = Trainer(recipe, RunFolder.open(tmp_path / "run"))
    resumed.restore()
    resumed.run()
    found = curves(tmp_path / "run")
    assert {"loss", "dice", "learning_rate", "gradient_norm", "seconds", "validation_dice"} < set(found)
    for name, points in found.items():
        steps, values = resumed.history.series(name)
        assert [step for step, _ in points] == steps, name
        assert [value for _, value in points] == pytest.approx(values, rel=1e-6), name


def test_a_tracker_that_cannot_write_ends_the_run_with_a_checkpoint_of_that_step(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was to flush is lost, and the state beside it is not."""

    def full(writer: SummaryWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recipe = tiny(phantom_root)
    run = RunFolder.create(recipe, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(SummaryWriter, "flush", full)
        patched.setattr(SummaryWriter, "close", full)
        with pytest.raises(UserError, match=r"tensorboard: the disk is full; .* go on with: memx train --resume"):
            Trainer(recipe, run).run()
    assert load_training_state(run.training_state)["iteration"] == 2
    resumed = Trainer(recipe, run)
    resumed.restore()
    resumed.run()
    assert resumed.iteration == recipe.train.iterations


def test_another_tracker_that_is_out_of_reach_is_warned_about(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe], caplog: pytest.LogCaptureFixture
) -> None:
    class Far:
        name = "far"

        def log(self, values: dict[str, float], step: int) -> None:
            raise ConnectionError("no route to host")

        finish = log

    recipe = tiny(phantom_root, "train.iterations=1")
    accelerator = Accelerator(cpu=True)
    trackers = Trackers(accelerator, recipe, tmp_path, 0)
    accelerator.trackers.append(Far())  # type: ignore[arg-type]
    trackers.log({"iteration": 3, "loss": 1.0})
    trackers.flush()
    assert "train.trackers: far: step 3 was not written: no route to host" in caplog.text
    accelerator.trackers.pop()
    trackers.finish()


def test_no_tracker_writes_nothing_and_does_not_change_the_recipe(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(phantom_root, "train.trackers=[]", "train.iterations=1", "train.validate_every=0")
    assert recipe.hash == tiny(phantom_root, "train.iterations=1").hash
    Trainer(recipe, RunFolder.create(recipe, tmp_path / "run")).run()
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_tracker_that_is_not_there_says_what_to_install(
    phantom_root: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    with pytest.raises(UserError, match=r"comet_ml, wandb is not installed: pip install comet-ml wandb"):
        check_trackers(["tensorboard", "comet_ml", "wandb"])
    recipe = tiny(phantom_root, "train.trackers=[wandb]")
    with pytest.raises(UserError, match="pip install wandb"):
        Trainer(recipe, RunFolder.create(recipe, tmp_path / "run"))
    with pytest.raises(RecipeError, match=r"train\.trackers.*'tensorboard'"):
        Recipe.load("gdkvm_phantom", ["train.trackers=[tensorbord]"])


def test_the_recipe_is_given_as_dotted_names() -> None:
    assert flat({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": "[1, 2]", "d": "null"}
