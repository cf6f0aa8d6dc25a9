"""Searches that take seconds, in processes of their own that are forked from this one, which has torch already."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
import yaml

from memx.cli import main
from memx.recipe import Recipe
from memx.search.lineage import rank
from memx.search.start import start
from memx.search.trial import Trials
from memx.search.worker import Worker


@pytest.fixture(scope="session")
def search_space() -> dict[str, object]:
    return {
        "model.memory": {"choice": ["linear", {"type": "gated_delta", "heads": {"choice": [1, 2]}}, "softmax"]},
        "train.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    }


@pytest.fixture(scope="session")
def write_recipe(
    tiny: Callable[..., Recipe], phantom_root: Path, search_space: dict[str, object]
) -> Callable[..., Path]:
    """`write_recipe(path, *overrides, **search)`: twelve steps of a tiny network, and a `search:` of these words."""
    words = ["name=tiny", "model.refiner=null", "data.frames=2", "loss.points=null"]
    words += ["train.iterations=12", "train.batch=1", "train.validate_every=4"]

    def write(path: Path, *overrides: str, **search: object) -> Path:
        asked = {"space": search_space, "sampler": "random", "trials": 3, "retries": 20}  # a busy machine misses beats
        recipe = tiny(phantom_root, *words, *overrides)
        path.write_text(yaml.safe_dump(recipe.dump() | {"search": asked | search}))
        return path

    return write


@pytest.fixture
def write_search(write_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe with a `search:` of these words."""
    return lambda **search: write_recipe(tmp_path / "tiny.yaml", **search)


Found = dict[int, tuple[dict[str, object], float, dict[str, torch.Tensor]]]
"""Rank of a trial → what was drawn, its Dice and its last weights."""


def _found(folder: Path, study: optuna.Study) -> Found:
    """What a search has found, whichever worker found it; fails where a trial was lost or done twice."""
    trials = study.get_trials(deepcopy=False)
    ended = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    ranks = [rank(trials, trial) for trial in ended]
    assert len(set(ranks)) == len(ranks), "a trial was done twice"
    return {
        place: (
            trial.params,
            trial.values[0],
            safetensors.torch.load_file(folder / f"trials/{trial.number:04d}/last/model.safetensors"),
        )
        for place, trial in sorted(zip(ranks, ended, strict=True), key=lambda pair: pair[0])
    }


def _same(one: Found, other: Found) -> bool:
    """Whether they are the same to the bit."""
    return one.keys() == other.keys() and all(
        one[place][:2] == other[place][:2]
        and one[place][2].keys() == other[place][2].keys()
        and all(torch.equal(tensor, other[place][2][name]) for name, tensor in one[place][2].items())
        for place in one
    )


@pytest.fixture
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial's report takes longer than its training here, and changes nothing of the study."""
    leave_reports(monkeypatch)


def leave_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memx.search.trial.write_run_report", lambda run, history, device: run.path / "report.html")
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="session")
def found_alone(write_recipe: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = Recipe.load(write_recipe(folder / "tiny.yaml", trials=4))
    with pytest.MonkeyPatch.context() as monkeypatch, torch.random.fork_rng(devices=[]):
        leave_reports(monkeypatch)
        started = start(recipe, out=folder / "out")
        Worker(started.study, Trials(recipe, started.folder)).run()
    return _found(started.folder.path, started.study)


@pytest.fixture
def undisturbed(found_alone: Found, no_reports: None) -> Callable[[int], Found]:
    """What one worker finds that is never disturbed, in so many trials, 4 at most: a draw hangs on its rank alone."""
    return lambda trials: {place: what for place, what in found_alone.items() if place < trials}


@dataclass
class Forked:
    """A `memx` command in a process of its own."""

    pid: int
    output: Path
    status: int | None = None

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Exit status, negative where a signal ended it; None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, seconds: float = 240) -> int:
        wait_for(lambda: self.poll() is not None, self, seconds)
        assert self.status is not None
        return self.status

    def said(self) -> str:
        return self.output.read_text(errors="replace")


def wait_for(true: Callable[[], bool], process: Forked, seconds: float = 240) -> None:
    """Look until it is so; the time is that of a machine with much else to do."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, process.said()
        time.sleep(0.005)


@dataclass
class Processes:
    """Begins commands, and ends at the end what is left of them."""

    folder: Path
    begun: list[Forked] = field(default_factory=list)

    @staticmethod
    def until(true: Callable[[], bool], process: Forked) -> None:
        """Wait until it is so, while the process runs."""
        wait_for(lambda: true() or process.poll() is not None, process)
        assert true(), f"it ended too early:\n{process.said()}"

    def __call__(self, *words: object, environment: Mapping[str, str] | None = None) -> Forked:
        output = self.folder / f"output-{len(self.begun)}.txt"
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                os.setsid()
                handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(handle, 1)
                os.dup2(handle, 2)
                sys.stdout = os.fdopen(1, "w", closefd=False)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
                os.environ.update(environment or {})
                os.chdir(self.folder)
                torch.set_num_threads(1)
                sys.argv = ["memx", *map(str, words)]
                status = 0
                main()
            except SystemExit as stop:
                status = int(stop.code or 0)
            except BaseException:
                status = 70
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        self.begun.append(Forked(pid, output))
        return self.begun[-1]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Processes]:
    """`process("search", …)` begins a command in a process of its own."""
    processes = Processes(tmp_path)
    yield processes
    for forked in processes.begun:
        if forked.poll() is None:
            os.killpg(forked.pid, signal.SIGKILL)
            forked.wait()


@pytest.fixture
def found() -> Callable[[Path, optuna.Study], Found]:
    """`found(folder, study)`."""
    return _found


@pytest.fixture
def same_found() -> Callable[[Found, Found], bool]:
    """`same_found(one, other)`."""
    return _same
