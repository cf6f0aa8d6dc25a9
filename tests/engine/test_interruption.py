"""Signals end a run after the step at hand, or leave a validation that is under way; what follows is as if they had not
come."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from memx.engine import train as training
from memx.engine.checkpoint import load_training_state, read_weights
from memx.engine.interruption import Interruption, StopSignal, exit_status, leave_to_main, noting, raising, saying
from memx.engine.run import RunFolder
from memx.engine.train import Trainer
from memx.errors import CheckpointError, DataError, InterruptedRunError
from memx.recipe import Recipe

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138}


@pytest.mark.parametrize("number", STATUS)
def test_signals_are_noted_and_what_was_before_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with noting() as heard:
        assert not heard
        heard.stop_if_asked()
        signal.raise_signal(number)
        assert heard
        with pytest.raises(StopSignal) as stop:
            heard.stop_if_asked()
    assert exit_status(stop.value) == STATUS[number]
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not() -> None:
    with noting():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", STATUS)
def test_elsewhere_they_end_the_work_at_hand_with_a_sentence(number: signal.Signals) -> None:
    refused = pytest.raises(InterruptedRunError, match="nothing was written")
    with refused as stop, raising(), saying(lambda: "nothing was written"):
        signal.raise_signal(number)
    assert stop.value.status == STATUS[number]


def test_a_thread_hears_nothing() -> None:
    heard: list[bool] = []

    def work() -> None:
        with noting() as asked:
            heard.append(bool(asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="Python cannot tell who sent a signal")
def test_a_process_that_loads_data_ends_by_its_training_process_alone(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        leave_to_main(0)
        for number in STATUS:
            os.kill(os.getpid(), number)  # from itself, as from a terminal or a scheduler
        while signal.SIGTERM in signal.sigpending():  # a second one would be lost in it
            time.sleep(0.001)
        (tmp_path / "alive").touch()
        signal.pause()
    while not (tmp_path / "alive").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_signal_that_comes_while_processes_agree_is_heard_the_next_time() -> None:
    heard = Interruption()

    class Reducing:
        num_processes, device = 2, torch.device("cpu")

        def reduce(self, asked: torch.Tensor, how: str) -> torch.Tensor:
            heard.number = signal.SIGTERM  # after it had said that nobody asked
            return asked

    accelerator: Any = Reducing()
    assert not heard.agree(accelerator)
    assert heard.agree(accelerator)
    assert heard.number == signal.SIGTERM


@pytest.mark.skipif(not hasattr(os, "fork") or torch.cuda.is_available(), reason="forks processes that use torch")
def test_processes_that_train_together_stop_at_the_same_step(tmp_path: Path) -> None:
    """Only the second of two hears the signal, and both learn of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    def work(rank: int) -> int:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in place.items()})
        AcceleratorState._reset_state(True)
        accelerator = Accelerator(cpu=True)
        assert accelerator.num_processes == 2
        with noting() as heard:
            assert not heard.agree(accelerator)
            if rank == 1:
                signal.raise_signal(signal.SIGUSR1)
            assert heard.agree(accelerator)
        assert heard.number == signal.SIGUSR1
        accelerator.end_training()
        return 0

    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = work(rank)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]


@pytest.fixture(scope="module")
def unbroken(tiny: Callable[..., Recipe], phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    small = ["data.frames=2", "train.batch=1", "loss.points=16"]
    recipe = tiny(phantom_root, *small, "train.iterations=3", "train.checkpoint_every=100")
    trainer = Trainer(recipe, RunFolder.create(recipe, tmp_path_factory.mktemp("signals") / "whole"))
    trainer.run()
    return trainer


def resumed(unbroken: Trainer, path: Path) -> Trainer:
    """Go on to the end, and compare with the run that was not interrupted."""
    trainer = Trainer(unbroken.recipe, RunFolder.open(path))
    trainer.restore()
    trainer.run()
    for name, tensor in unbroken.model.state_dict().items():
        assert torch.equal(tensor, trainer.model.state_dict()[name]), name
    assert trainer.best == unbroken.best
    rows = [[{**row, "seconds": 0} for row in run.history.rows] for run in (trainer, unbroken)]
    assert rows[0] == rows[1]
    return trainer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_validation_is_left_and_made_when_the_run_goes_on(
    unbroken: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    cases: list[int] = []
    evaluate = training.evaluate

    def interrupted(*args: Any, on_case: Any, **options: Any) -> Any:
        def first(done: int, total: int) -> None:
            cases.append(done)
            signal.raise_signal(number)
            on_case(done, total)

        return evaluate(*args, on_case=first, **options)

    monkeypatch.setattr(training, "evaluate", interrupted)
    run = RunFolder.create(unbroken.recipe, tmp_path / "run")
    with pytest.raises(InterruptedRunError, match=r"after 2 of 3 steps; go on with: memx train --resume") as stop:
        Trainer(unbroken.recipe, run).run()
    assert stop.value.status == STATUS[number]
    assert cases == [1]
    assert load_training_state(run.training_state)["validated"] is False
    assert not run.best_weights.exists()
    monkeypatch.undo()
    resumed(unbroken, run.path)


def test_a_validation_that_fails_is_made_again(
    unbroken: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise DataError("a bad case")

    monkeypatch.setattr(training, "evaluate", broken)
    run = RunFolder.create(unbroken.recipe, tmp_path / "run")
    with pytest.raises(DataError, match="a bad case"):
        Trainer(unbroken.recipe, run).run()
    monkeypatch.undo()
    resumed(unbroken, run.path)


def test_files_that_are_older_than_the_state_are_written_again(unbroken: Trainer, tmp_path: Path) -> None:
    """As after a kill between two files; the last weights and the history follow from the state."""
    path = tmp_path / "run"
    shutil.copytree(unbroken.folder.path, path)
    run = RunFolder.open(path)
    weights, history = read_weights(unbroken.folder.last_weights), (path / "history.csv").read_text()
    run.last_weights.write_bytes(b"older")
    (path / "history.csv").unlink()
    resumed(unbroken, path)
    written = read_weights(run.last_weights)
    assert written[1] == weights[1]
    assert all(torch.equal(tensor, written[0][name]) for name, tensor in weights[0].items())
    assert (path / "history.csv").read_text() == history


def test_one_wrong_bit_in_a_training_state_is_found(unbroken: Trainer, tmp_path: Path) -> None:
    content = bytearray(unbroken.folder.training_state.read_bytes())
    state = tmp_path / "state.pt"
    for place in (len(content) // 3, len(content) // 2):
        content[place] ^= 1
        state.write_bytes(content)
        content[place] ^= 1
        with pytest.raises(CheckpointError, match=r"damaged or unsafe training state: .*Put back a copy"):
            load_training_state(state)
    state.write_bytes(content[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(state)
    state.write_bytes(content)
    assert load_training_state(state)["iteration"] == 3
