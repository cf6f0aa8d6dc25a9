"""Killed at any moment and resumed, a run ends with the bits of the run that was never killed.

Each start of a run is a process of its own: a fork of this one, so that torch is imported once. It kills itself by
SIGKILL at a drawn moment: before one of its calls to the file system that change the run folder, half-way through the
bytes of a file, before the disk is told to keep one, or at any time from outside. `MEMX_KILLS=exhaustive` visits every
such call of a whole run instead of a sample (minutes).
"""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from memx.data.dataset import ClipDataset
from memx.engine.checkpoint import load_training_state, read_weights
from memx.engine.datasets import training_set
from memx.engine.run import RunFolder
from memx.engine.train import Trainer
from memx.recipe import Recipe

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or torch.cuda.is_available(), reason="forks processes that train, which needs a CPU's torch"
)

Tiny = Callable[..., Recipe]
WORDS = ["data.frames=2", "train.iterations=5", "train.warmup=2", "train.schedule=cosine", "loss.points=16"]
WORDS += ["train.trackers=[]"]
EXHAUSTIVE = os.environ.get("MEMX_KILLS") == "exhaustive"
WRITES = ("os.rename", "os.remove", "os.chmod", "os.mkdir", "os.rmdir")
"""What Python says of itself before it changes a file's name or place (PEP 578), beside opening one to write."""


@dataclass
class Moments:
    """Counts the moments at which a process changes the run folder, and kills it before the one of number `last`."""

    folder: Path
    last: int | None
    notes: Path
    seen: int = 0

    def reached(self, what: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{what}\n")
        if self.seen == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1

    def watch(self) -> None:
        """From here to the end of the process."""
        sys.addaudithook(self._audit)
        sync = os.fsync

        def write_bytes(path: Path, data: Any) -> int:
            view = memoryview(data)
            with path.open("wb") as file:
                file.write(view[: len(view) // 2])
                file.flush()
                self.reached(f"half of {self._name(path)}")
                file.write(view[len(view) // 2 :])
            return len(view)

        def fsync(handle: int) -> None:
            self.reached("fsync")
            sync(handle)

        Path.write_bytes = write_bytes  # type: ignore[method-assign]
        os.fsync = fsync

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        writing = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not (event in WRITES or writing) or isinstance(args[0], int):
            return
        changed = Path(os.fsdecode(args[event == "os.rename"]))
        if changed.is_relative_to(self.folder):
            self.reached(f"{event} {self._name(changed)}")

    def _name(self, path: Path) -> str:
        name = f"part of *{path.suffix}" if path.name.startswith(".part-") else path.name
        return f"last/{name}" if path.parent.name == "last" else name


@dataclass
class Bench:
    """Starts runs of one recipe as processes."""

    recipe: Recipe
    clips: ClipDataset
    kills: int = 0
    places: set[str] = field(default_factory=set)
    moments: list[str] = field(default_factory=list)
    """Those of the process that ended last."""

    def start(self, path: Path, *, moment: int | None = None, after: float | None = None) -> bool:
        """Start or go on with a run, killed before a moment, or some seconds after it has begun its first step.

        Returns whether it came to its end.
        """
        notes = path.with_suffix(".moments")
        notes.write_text("")
        process = os.fork()
        if process == 0:
            status = 1
            try:
                Moments(path, moment, notes).watch()
                train(self.recipe, self.clips, path)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        if after is not None:
            begun = steps_begun(path)
            while steps_begun(path) == begun and not ended(process):
                time.sleep(0.001)
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.moments = notes.read_text().splitlines()
        assert code in (0, -signal.SIGKILL), f"the process failed with {code}"
        if code:
            self.kills += 1
            self.places.add(self.moments[-1] if moment is not None else "any time")
        return code == 0


def train(recipe: Recipe, clips: ClipDataset, path: Path) -> None:
    """What `memx train RECIPE --out PATH --resume auto` does between reading the recipe and the report."""
    torch.manual_seed(random.SystemRandom().getrandbits(32))  # whatever has been drawn before says nothing
    folder = RunFolder(path)
    with folder.lock():
        if not (path / "recipe.yaml").exists():
            RunFolder.create(recipe, path)
        fresh = folder.untrained
        trainer = Trainer(recipe, folder, pretrained=fresh, clips=clips)
        if not fresh:
            trainer.restore()
        step = trainer._step

        def noted(batches: list[dict[str, torch.Tensor]]) -> Any:
            with order(path).open("a") as file:
                file.write(f"{trainer.iteration + 1} {[batch['index'].tolist() for batch in batches]}\n")
            return step(batches)

        trainer._step = noted  # type: ignore[method-assign]
        trainer.run()


def order(path: Path) -> Path:
    """Where the clips of each step are written down: beside the run."""
    return path.with_suffix(".order")


def steps_begun(path: Path) -> int:
    """By all processes of a run together."""
    return len(order(path).read_text().splitlines()) if order(path).exists() else 0


def ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def leftovers(path: Path) -> dict[str, Any]:
    """All that a run leaves but what times and dates tell; trackers have files of their own."""
    folder = RunFolder(path)
    state = load_training_state(folder.training_state)
    for row in state["history"]:
        del row["seconds"]
    rows = list(csv.DictReader((path / "history.csv").open()))
    for row in rows:
        del row["seconds"]
    return {
        "files": sorted(str(file.relative_to(path)) for file in path.rglob("*") if "tensorboard" not in str(file)),
        "state": state,
        "best": read_weights(folder.best_weights),
        "last": read_weights(folder.last_weights),
        "rows": rows,
        "order": sorted(set(order(path).read_text().splitlines())),
        "recipe": (path / "recipe.yaml").read_text(),
    }


def same(a: Any, b: Any, place: str = "") -> None:
    """Assert that two trees are equal to the bit."""
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, place
        assert torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            same(a[key], b[key], f"{place}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for n, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{place}/{n}")
    else:
        assert a == b, place


@dataclass
class Whole:
    """A run that was never killed: what it left, and the moments at which it changed its folder."""

    bench: Bench
    left: dict[str, Any]
    moments: list[str]
    seconds: float

    def check(self, path: Path) -> None:
        same(leftovers(path), self.left)


def whole(recipe: Recipe, tmp: Path) -> Whole:
    clips = training_set(recipe)
    for case in range(len(clips.cases)):
        clips.prepare(case)
    bench = Bench(recipe, clips)
    started = time.perf_counter()
    assert bench.start(tmp / "whole")
    seconds = time.perf_counter() - started
    return Whole(bench, leftovers(tmp / "whole"), bench.moments, seconds)


@pytest.fixture(scope="module")
def unbroken(tiny: Tiny, phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    run = whole(tiny(phantom_root, *WORDS), tmp_path_factory.mktemp("kill"))
    yield run
    places = sorted(run.bench.places)
    print(f"\n{run.bench.kills} kills at {len(places)} kinds of moments: {', '.join(places)}")


def test_a_run_is_watched_wherever_it_changes_its_folder(unbroken: Whole) -> None:
    """The moments are those of every file that a run leaves; nothing but what is expected is left."""
    assert unbroken.left["files"] == [
        "history.csv",
        "last",
        "last/model.safetensors",
        "last/training_state.pt",
        "manifest.json",
        "model.safetensors",
        "recipe.yaml",
    ]
    checkpoints = unbroken.moments.count("half of last/part of *.pt")
    assert checkpoints == 4  # before the first validation, and after steps 2, 4 and 5
    for name in ("last/training_state.pt", "last/model.safetensors", "history.csv"):
        assert unbroken.moments.count(f"os.rename {name}") == checkpoints
    assert unbroken.moments.count("fsync") == 2 * sum("os.rename" in moment for moment in unbroken.moments)
    assert len(unbroken.left["order"]) == 5


def test_killed_at_one_moment_and_resumed_it_is_the_same_run(unbroken: Whole, tmp_path: Path) -> None:
    """One kill a run: of all moments in order, a sample spread over them unless all are asked for."""
    count = len(unbroken.moments)
    chosen = range(count) if EXHAUSTIVE else sorted(random.Random(0).sample(range(count), 4))
    for moment in chosen:
        path = tmp_path / f"at{moment}"
        assert not unbroken.bench.start(path, moment=moment)
        assert unbroken.bench.start(path)
        unbroken.check(path)


def test_killed_at_every_start_until_it_can_go_no_further(unbroken: Whole, tmp_path: Path) -> None:
    """Every process is killed a few moments later than the last one was, so that the kills wander through all places.

    Each start begins at what the kills before it have left.
    """
    path, moment = tmp_path / "run", 0
    stride = 1 if EXHAUSTIVE else 8
    while not unbroken.bench.start(path, moment=moment):
        moment += stride
    unbroken.check(path)


def test_killed_at_any_time_and_resumed_it_is_the_same_run(unbroken: Whole, tmp_path: Path) -> None:
    """Kills from outside, at times that nothing in the process knows of."""
    draw, before = random.Random(1), unbroken.bench.kills
    for n in range(60 if EXHAUSTIVE else 2):
        path = tmp_path / f"run{n}"
        for _ in range(3):
            if unbroken.bench.start(path, after=draw.uniform(0, unbroken.seconds / 3)):
                break
        assert unbroken.bench.start(path)
        unbroken.check(path)
    assert unbroken.bench.kills > before


def test_data_workers_and_precision_change_nothing(tiny: Tiny, phantom_root: Path, tmp_path: Path) -> None:
    """Killed with a data worker and a tracker beside it, in bfloat16; a worker without its parent holds no lock."""
    more = ["data.workers=1", "train.precision=bf16", "train.trackers=[tensorboard]"]
    run = whole(tiny(phantom_root, *WORDS, *more), tmp_path)
    path = tmp_path / "run"
    count = len(run.moments)
    for part in (3, 2) if not EXHAUSTIVE else range(40, 1, -1):
        run.bench.start(path, moment=count // part)
    assert run.bench.start(path)
    run.check(path)
    assert run.bench.kills
