"""Stopping and going on, through the command line: exit statuses, messages, and the same numbers as without a stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from memx.cli import main
from memx.engine.checkpoint import read_weights
from memx.engine.run import RunFolder
from memx.engine.train import Trainer
from memx.recipe import Recipe

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or torch.cuda.is_available(), reason="forks processes that train, which needs a CPU's torch"
)
Command = Callable[..., tuple[int, str, str]]
Forked = Callable[[Callable[[], object]], int]


@pytest.fixture
def words(tiny_words: list[str], phantom_root: Path) -> list[str]:
    small = ["data.frames=2", "train.batch=1", "train.checkpoint_every=100", "loss.points=16"]
    return ["train", "gdkvm_phantom", f"data.root={phantom_root}", *tiny_words, *small, "--device", "cpu"]


def memx(*words: object) -> Callable[[], None]:
    """The command, to be called in a process of its own."""

    def run() -> None:
        sys.argv = ["memx", *map(str, words)]
        os.environ["COLUMNS"] = "300"
        main()

    return run


def signalled(number: signal.Signals, at: int, run: Callable[[], None]) -> Callable[[], None]:
    """The same, with a signal to the process within a step."""

    def start() -> None:
        step = Trainer._step

        def asked(self: Trainer, batch: Any) -> Any:
            if self.iteration == at - 1:
                os.kill(os.getpid(), number)
            return step(self, batch)

        Trainer._step = asked  # type: ignore[method-assign]
        run()

    return start


def test_one_command_line_starts_a_run_and_goes_on_with_it_after_every_stop(
    words: list[str], tmp_path: Path, forked: Forked, capfd: pytest.CaptureFixture[str]
) -> None:
    assert forked(memx(*words, "--out", tmp_path / "whole")) == 0
    job = memx(*words, "--out", tmp_path / "run", "--resume", "auto")
    for at, (number, status) in enumerate(
        {signal.SIGUSR1: 138, signal.SIGTERM: 143, signal.SIGINT: 130}.items(), start=1
    ):
        capfd.readouterr()
        assert forked(signalled(number, at, job)) == status
        said = capfd.readouterr().err
        assert f"interrupted after {at} of 4 steps; go on with: memx train --resume {tmp_path / 'run'}" in said
        assert "Traceback" not in said
        assert not (tmp_path / "run" / ".lock").exists()
    assert forked(job) == 0
    ends = [read_weights(RunFolder(tmp_path / name).last_weights) for name in ("whole", "run")]
    assert ends[0][1] == ends[1][1]
    for name, tensor in ends[0][0].items():
        assert torch.equal(tensor, ends[1][0][name]), name
    capfd.readouterr()
    report = tmp_path / "run" / "report.html"
    written = report.stat().st_mtime_ns
    assert forked(job) == 0  # a job that is started once more than it needs
    assert "all 4 steps are done; nothing to train" in capfd.readouterr().err
    assert report.stat().st_mtime_ns == written


def test_a_report_that_was_interrupted_is_made_by_resuming(
    words: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memx.cli import training

    def pressed(*args: Any, on_case: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(training, "write_run_report", pressed)
    status, _, said = command(*words, "--out", tmp_path / "run")
    assert status == 143
    assert "interrupted before the report; the weights are kept in" in said
    assert f"memx train --resume {tmp_path / 'run'}" in said
    monkeypatch.undo()
    status, _, said = command("train", "--resume", tmp_path / "run", "--device", "cpu", f"{words[2]}")
    assert status == 0
    assert "nothing to train" in said
    assert (tmp_path / "run" / "report.html").exists()


def test_a_run_that_ended_before_its_first_checkpoint_starts_from_the_first_step(
    words: list[str], tmp_path: Path, command: Command, forked: Forked
) -> None:
    assert forked(signalled(signal.SIGKILL, 1, memx(*words, "--out", tmp_path / "run"))) == -signal.SIGKILL
    assert (tmp_path / "run" / ".lock").exists()
    other = [word.replace("batch=1", "batch=2") for word in words]
    status, _, said = command(*other, "--out", tmp_path / "run", "--resume", "auto")
    assert status == 2
    assert "holds a run of another recipe; they differ in train.batch" in said
    status, _, said = command("train", "--resume", tmp_path / "run", "--device", "cpu")
    assert status == 0
    assert "ended before its first checkpoint: from the first step" in said


def test_auto_needs_a_folder_and_imported_weights_are_not_trained_over(
    words: list[str], tmp_path: Path, command: Command
) -> None:
    assert "--resume auto needs --out" in command(*words, "--resume", "auto")[2]
    run = RunFolder.create(Recipe.load(words[1], words[2:-2]), tmp_path / "imported")
    run.best_weights.write_bytes(b"weights")
    for more in (["--out", run.path, "--resume", "auto"], None):
        given = [*words, *more] if more else ["train", "--resume", run.path, "--device", "cpu"]
        status, _, said = command(*given)
        assert status == 2
        assert "there is no training state to resume from" in said
    assert run.best_weights.read_bytes() == b"weights"


def test_ctrl_c_while_data_are_checked_leaves_nothing(
    words: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memx.cli import training

    def pressed(recipe: Any, on_case: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training, "check_cases", pressed)
    status, _, said = command(*words, "--out", tmp_path / "run")
    assert (status, said.strip()) == (
        130,
        "interrupted while the data were checked; nothing was trained or written",
    )
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_any_command_is_one_sentence(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from memx.engine import manifest

    def pressed() -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "environment", pressed)
    status, _, said = command("env")
    assert status == 130
    assert said.strip() == "memx env was interrupted; files that it had finished are whole, and none is half written"
    with pytest.raises(Exception, match="memx env was interrupted") as caught:
        command("--debug", "env")
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)


@pytest.mark.slow
def test_a_real_process_holds_its_run_and_heeds_sigterm(words: list[str], tmp_path: Path, command: Command) -> None:
    """The one test that starts Python anew."""
    endless = [word.replace("iterations=4", "iterations=1000000") for word in words]
    options = ["data.workers=1", "train.validate_every=0", "train.checkpoint_every=1", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "memx", *endless, *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
        start_new_session=True,
    )
    try:
        state = tmp_path / "run" / "last" / "training_state.pt"
        while not state.exists():
            assert process.poll() is None
            time.sleep(0.05)
        status, _, said = command("train", "--resume", tmp_path / "run", "--device", "cpu")
        assert status == 2
        assert f"process {process.pid} on " in said
        assert "trains this run; wait for it to end, or stop it" in said
        os.killpg(process.pid, signal.SIGTERM)  # the training process and its worker, as a scheduler does
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 143
    assert "of 1000000 steps; go on with: memx train --resume" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / ".lock").exists()
    shutil.rmtree(tmp_path / "run")
