"""A disk that is full stops a run, which keeps its last good checkpoint and goes on once there is space. No mocks."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from memx.engine.checkpoint import load_training_state
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.errors import UserError
from memx.recipe import Recipe

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(), reason="forks processes that train, on Linux without a GPU"
)
Forked = Callable[[Callable[[], object]], int]
NOT_ALLOWED = 77


def fills_up(recipe: Recipe, path: Path, fill: Callable[[], None], clear: Callable[[], None], message: str) -> None:
    """Train until the disk is full, which it is from step 3 on; then clear it and train to the end.

    What cannot be written first are the best weights of step 4, or, where there is no validation, its checkpoint.
    """

    def full(step: Step) -> None:
        if step.iteration == 3:
            fill()

    run = RunFolder.create(recipe, path)
    with pytest.raises(UserError, match=message) as caught:
        Trainer(recipe, run, on_step=full).run()
    assert f"The last checkpoint is kept; go on with: memx train --resume {path}" in str(caught.value)
    assert load_training_state(run.training_state)["iteration"] == 2
    assert not list(path.rglob(".part-*"))
    clear()
    trainer = Trainer(recipe, run)
    trainer.restore()
    assert trainer.iteration == 2
    trainer.run()


def same_end(unbroken: Trainer, path: Path) -> None:
    state = load_training_state(RunFolder(path).training_state)
    assert state["iteration"] == 4
    for name, tensor in unbroken.model.state_dict().items():
        assert torch.equal(tensor, state["model"][name]), name


@pytest.fixture(scope="module")
def unbroken(tiny: Callable[..., Recipe], phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    recipe = tiny(phantom_root, "data.frames=2", "train.batch=1", "train.validate_every=0", "loss.points=16")
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path_factory.mktemp("full") / "whole"))
    trainer.run()
    return trainer


def test_a_limit_on_the_size_of_files(unbroken: Trainer, tmp_path: Path, forked: Forked) -> None:
    def work() -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        fills_up(
            unbroken.recipe,
            tmp_path / "run",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1])),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before),
            r"(model\.safetensors|training_state\.pt): is larger than a file may be here \(`ulimit -f`",
        )

    assert forked(work) == 0
    same_end(unbroken, tmp_path / "run")


def test_a_disk_without_space(unbroken: Trainer, tmp_path: Path, forked: Forked) -> None:
    """A file system of 8 MB in memory, which only the forked process sees."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def work() -> None:
        if not mounted(disk):
            sys.exit(NOT_ALLOWED)
        ballast = disk / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    return

        fills_up(
            unbroken.recipe,
            disk / "run",
            fill,
            ballast.unlink,
            r"(model\.safetensors|training_state\.pt): the disk is full; free some",
        )
        same_end(unbroken, disk / "run")

    status = forked(work)
    if status == NOT_ALLOWED:
        pytest.skip("no file system can be mounted here")
    assert status == 0


def mounted(folder: Path) -> bool:
    """Mount a small file system there, in a name space of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts, private, recursive = 0x10000000, 0x00020000, 1 << 18, 1 << 14
    if libc.unshare(new_mounts if os.geteuid() == 0 else new_user | new_mounts) != 0:
        return False
    if libc.mount(b"none", b"/", None, private | recursive, None) != 0:
        return False
    return libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=8m") == 0
