"""Several processes agree, fail together with one message, and train as one does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from memx.data.dataset import ClipDataset
from memx.engine import processes
from memx.engine.checkpoint import load_training_state, read_weights
from memx.engine.datasets import training_set
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.errors import DataError, UserError
from memx.recipe import Recipe


def test_alone_nothing_is_done() -> None:
    def fail() -> None:
        raise UserError("wrong")

    assert processes.is_first()
    assert processes.gather(3) == [3]
    for call in (processes.together, processes.on_first, processes.first_only):
        assert call(lambda: 5) == 5
        with pytest.raises(UserError, match="wrong"):
            call(fail)
    with pytest.raises(UserError, match="wrong"), processes.one_voice():
        fail()


def test_they_agree_and_fail_together(ranked: Callable[..., list[Any]]) -> None:
    def caught(work: Callable[[], Any]) -> str:
        try:
            work()
        except (UserError, SystemExit) as error:
            return f"{type(error).__name__} {error}"
        return "nothing"

    def work(rank: int) -> list[Any]:
        def fail(where: int) -> int:
            if rank == where:
                raise DataError("cut short", file=Path("a.nii"))
            return rank

        processes.join("cpu")
        found = [
            processes.gather(rank),
            processes.on_first(lambda: f"from {rank}"),
            processes.first_only(lambda: rank),
            processes.together(lambda: rank),
            processes.any_of(lambda: rank == 1)(),
            processes.any_of(lambda: False)(),
            caught(lambda: processes.together(lambda: fail(1))),
            caught(lambda: processes.on_first(lambda: fail(0))),
            caught(lambda: processes.first_only(lambda: fail(0))),
        ]
        processes.leave()
        return found

    first, second = ranked(2, work)
    message, silent = "DataError a.nii: cut short", "SystemExit 2"
    assert first == [[0, 1], "from 0", 0, 0, True, False, message, message, message]
    assert second == [[0, 1], "from 0", None, 1, True, False, silent, silent, silent]


def test_processes_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="several processes need a GPU each; say --device cuda"):
        processes.join("cuda:0")


WORDS = ["train.batch=4", "train.ema=0.9", "model.mask_dropout=0.3", "data.augment=[rotate]", "train.iterations=3"]
"""Batch normalisation in both encoders, points drawn at random, masks left out at random, clips turned at random."""


class Unevenly:
    """A training set of which some clips have one supervised frame and some have none."""

    def __init__(self, clips: ClipDataset):
        self.clips, self.cases = clips, clips.cases

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.clips[index]
        item["supervised"][index % 4 :] = False
        return item


@pytest.mark.parametrize(
    ("more", "uneven"),
    [
        ([], False),
        (["train.accumulate=2", "model.image_encoder.norm=frozen", "model.value_encoder.norm=frozen"], True),
        (["loss.auxiliary=0"], False),
    ],
    ids=["batch-norm", "accumulate-unevenly", "no-auxiliary"],
)
def test_two_processes_train_as_one_does(
    more: list[str],
    uneven: bool,
    ranked: Callable[..., list[Any]],
    phantom_root: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
) -> None:
    """Losses to a relative 1e-5, Dice to 0.01, all weights together to a relative 1e-4 (AdamW makes a step of rounding
    where a weight has no gradient); and two processes that were stopped go on to the bit.

    Of uneven clips one process has other numbers of supervised frames than the other, and micro-batches without any.
    """
    recipe = tiny(phantom_root, *WORDS, *more, "train.validate_every=1", "train.checkpoint_every=1")
    clips: Any = Unevenly(training_set(recipe)) if uneven else None
    one = Trainer(recipe, RunFolder.create(recipe, tmp_path / "one"), clips=clips)
    one.run()

    def stop(step: Step) -> None:
        if step.iteration == 2:
            raise RuntimeError("killed")

    def work(rank: int) -> list[Any]:
        processes.join("cpu")
        whole = Trainer(recipe, processes.on_first(lambda: RunFolder.create(recipe, tmp_path / "two")), clips=clips)
        whole.run()
        broken = Trainer(
            recipe,
            processes.on_first(lambda: RunFolder.create(recipe, tmp_path / "broken")),
            on_step=stop,
            clips=clips,
        )
        with pytest.raises(RuntimeError, match="killed"):
            broken.run()
        resumed = Trainer(recipe, RunFolder.open(tmp_path / "broken"), clips=clips)
        resumed.restore()
        resumed.run()
        processes.leave()
        rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in t.history.rows] for t in (whole, resumed)]
        return [resumed.iteration, *rows]

    first, second = ranked(2, work)
    assert first == second
    iteration, rows, resumed_rows = first
    assert iteration == 3
    assert resumed_rows == rows
    for row, expected in zip(rows, one.history.rows, strict=True):
        for name in ("loss", "cross_entropy", "dice", "auxiliary", "gradient_norm", "learning_rate"):
            assert row[name] == pytest.approx(expected[name], rel=1e-5), name
        assert row["validation_dice"] == pytest.approx(expected["validation_dice"], abs=0.01)
    for part in ("model", "average"):
        states = [load_training_state(tmp_path / name / "last/training_state.pt")[part] for name in ("one", "two")]
        trees = [state["model"] if part == "average" else state for state in states]
        first_weights, weights = (torch.cat([x.double().flatten() for x in tree.values()]) for tree in trees)
        assert float((weights - first_weights).norm()) < 1e-4 * float(first_weights.norm()), part
    whole, resumed = (read_weights(tmp_path / name / "last/model.safetensors")[0] for name in ("two", "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_torchrun_trains_into_one_folder_and_a_mistake_is_said_once(
    tiny_words: list[str], phantom_root: Path, tmp_path: Path
) -> None:
    from memx.recipe_source import find_recipe

    words = [*tiny_words, "train.iterations=2", "evaluate.bootstrap=0"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "memx"]
        command = [*launch, "train", str(find_recipe("gdkvm_phantom")), f"data.root={phantom_root}", *words, *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path)

    done = run("--out", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training 2/2 steps") == 1
    assert {"report.html", "model.safetensors", "history.csv"} <= {p.name for p in (tmp_path / "run").iterdir()}
    failed = run("train.batch=3", "--out", "other")
    assert failed.returncode != 0
    assert failed.stderr.count("cannot be dealt out evenly to 2 processes") == 1
    assert not (tmp_path / "other").exists()
