"""What tests of several folders share: a small phantom, written once a session, and a recipe that trains in a second
on it; commands, in this process and in others."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from memx.recipe import Recipe

os.environ.setdefault("MPLBACKEND", "Agg")
torch.set_num_threads(1)  # small tensors: more threads only wait for each other


def pytest_collection_finish() -> None:
    """What is there now stays to the end: garbage collection, which would walk through it again and again, leaves it
    alone."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of six small patients in CAMUS's layout."""
    from memx.data import phantom

    root = tmp_path_factory.mktemp("phantom") / "camus"
    phantom.write(root, layout="camus", patients=6, seed=7, size=64)
    return root


@pytest.fixture(scope="session")
def tiny_words() -> list[str]:
    """Overrides of gdkvm_phantom: GDKVM at its narrowest, for four steps."""
    return [
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


@pytest.fixture(scope="session")
def tiny(tiny_words: list[str]) -> Callable[..., Recipe]:
    """`tiny(root, *overrides)`: the recipe of these words, on a phantom, with overrides on top."""
    from memx.recipe import Recipe

    return lambda root, *overrides: Recipe.load("gdkvm_phantom", [f"data.root={root}", *tiny_words, *overrides])


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process, `command("zoo", "show")`: exit status, standard output, standard error."""
    from memx.cli import main

    def run(*words: object, columns: int = 200) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memx", *map(str, words)])
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def forked() -> Callable[[Callable[[], object]], int]:
    """Call a function in a forked process: 0 when it returns, its own status, or minus the signal that killed it."""

    def run(function: Callable[[], object]) -> int:
        process = os.fork()
        if process:
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        status = 1
        try:
            function()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    return run


@pytest.fixture(autouse=True)
def _one_seed() -> Iterator[None]:
    """Every test starts from one seed of torch's generator and leaves none of its own behind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What the test registers, or loads as a plug-in, is forgotten after it."""
    import sys

    from memx.registry import registries

    for r in registries().values():
        r.names()  # imports the package's own components, which are to stay
    before = {kind: dict(r._entries) for kind, r in registries().items()}
    modules = set(sys.modules)
    yield
    for kind, r in registries().items():
        r._entries.clear()
        r._entries.update(before[kind])
    for name in set(sys.modules) - modules:
        if name.startswith("memx_plugin_"):
            del sys.modules[name]
