"""A table made for real, small: trained and scored, one run in processes of its own, one row failing, then reused."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from rich.console import Console

from memx.cli import main
from memx.cli.reproduction import run_reproduction
from memx.recipe_source import SYSTEM_FILE
from memx.reproduce.plan import make_plan
from memx.reproduce.result import QUICK
from memx.zoo import find_system
from memx.zoo.system import System, load_system

SMALL = """\
title: Small
summary: A system small enough to be trained in a test.
paper: {title: T, authors: A, venue: V 2025}
parameters: 10
releases: [{name: paper, recipe: gdkvm_phantom, differs: nothing}]
sources: {paper: {label: a paper, reference: R, protocol: made up}}
data:
  phantom:
    recipe: gdkvm_phantom
    phantom: {patients: 40, seed: 3}
    quick_phantom: {patients: 6, size: 64, frames: 3, lost: 0.5}
    long: {frames: 9, quick: 4}
    protocol: simulated
    quick:
      - train.iterations=2
      - train.batch=1
      - train.warmup=0
      - train.validate_every=0
      - data.size=32
      - data.frames=2
      - evaluate.bootstrap=0
      - model.refiner=null
      - model.image_encoder.width=8
      - model.value_encoder.width=8
tables:
  two:
    title: two memories
    shows: One memory beside another.
    data: [phantom]
    columns: [dice, dice_long, hd95, ef]
    reference: delta
    rows:
      - {label: linear, overrides: [model.memory=linear], published: {paper: {dice: 90}}}
      - {label: delta, overrides: [model.memory=delta], published: {paper: {dice: 95}}}
      - {label: refused, overrides: [train.precision=fp16]}
      - {label: elsewhere, published: {paper: {dice: 96}}}
"""


@pytest.fixture
def small(tmp_path: Path) -> System:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / SYSTEM_FILE).write_text(SMALL, encoding="utf-8")
    return load_system(folder)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Only the first run of a table gets processes, each of which imports torch; the commands of the others are run in
    this one. Gives how many processes there were."""
    first: list[str] = []
    begun: list[subprocess.Popen[bytes]] = []

    def start(words: Sequence[str], *, stdout: IO[bytes], **settings: Any) -> Any:
        if not first:
            first.append(words[words.index("--out") + 1])
        if first[0] in words:
            begun.append(subprocess.Popen(words, stdout=stdout, **settings))
            return begun[-1]
        assert list(words[:3]) == [sys.executable, "-m", "memx"]
        monkeypatch.setattr(sys, "argv", ["memx", *words[3:]])
        status = 0
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            try:
                main()
            except SystemExit as stop:
                status = int(stop.code or 0)
        stdout.write(out.getvalue().encode())
        return SimpleNamespace(poll=lambda: status)

    known = SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr("memx.reproduce.workers.subprocess", known)
    return lambda: len(begun)


@pytest.mark.slow
def test_a_table_of_two_rows_and_two_seeds(
    small: System, processes: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def make() -> tuple[str, int]:
        plan = make_plan(small, "two", "phantom", out=tmp_path / "out", seeds=2, quick=True)
        text = io.StringIO()
        console = Console(file=text, width=200, force_terminal=False)
        _, failed = run_reproduction(plan, jobs=2, device="cpu", console=console)
        return text.getvalue(), failed

    printed, failed = make()
    assert failed == 2, printed
    assert processes() == 3, "a training and two evaluations"
    assert QUICK in printed
    assert "0 of 6 runs are there, 6 to do, 2 at a time" in printed
    assert "train.precision=fp16 needs a GPU" in printed, "the end of a failed run's log is shown"
    folder = tmp_path / "out" / "small" / "phantom"
    table = json.loads((folder / "tables" / "two_2_seeds_quick" / "table.json").read_text(encoding="utf-8"))
    rows = {row["label"]: row for row in table["rows"]}
    for label in ("linear", "delta"):
        assert (rows[label]["seeds"], rows[label]["patients"], rows[label]["failed"]) == (2, 1, 0)
        assert {"dice", "dice_long", "hd95"} <= set(rows[label]["ours"])
    assert rows["linear"]["ours"]["dice"]["difference"]["seeds"] == 2
    assert (rows["refused"]["ours"], rows["refused"]["failed"]) == ({}, 2)
    assert (rows["elsewhere"]["ours"], rows["elsewhere"]["failed"]) == ({}, 0)
    assert len(table["runs"]) == 4
    for run in table["runs"]:
        path = Path(run["path"])
        assert path.name.startswith(f"{run['recipe']}_{run['fingerprint'][:6]}_seed{run['seed']}")
        assert {"recipe.yaml", "manifest.json", "model.safetensors", "report.html"} <= {
            item.name for item in path.iterdir()
        }
    first = Path(table["runs"][0]["path"])
    counts = {path.parent.name: len(json.loads(path.read_text())["rows"]) for path in first.rglob("scores.json")}
    assert counts == {"test": 2 * 2, "test_4_frames": 2 * 4}
    assert (folder / "tables" / "two_2_seeds_quick" / "report.html").is_file()

    weights = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    monkeypatch.setattr("memx.reproduce.workers._advance", lambda *_: 1)  # nothing may be trained anew
    printed, failed = make()
    assert failed == 2
    assert "4 of 6 runs are there, 2 to do" in printed
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")} == weights


def test_networks_are_timed_without_training(tmp_path: Path) -> None:
    plan = make_plan(
        find_system("gdkvm"), "speed", "phantom", out=tmp_path, quick=True, overrides=["model.refiner=null"]
    )
    text = io.StringIO()
    result, failed = run_reproduction(plan, jobs=1, device="cpu", console=Console(file=text, width=200))
    assert failed == 0
    timed = [row for row in result.rows if row.measured]
    assert len(timed) == 5
    for row in timed:
        time = row.cells["ms"].estimate.value
        assert time > 0
        assert row.cells["fps"].estimate.value == pytest.approx(1000 / time)
    assert "random weights, batch 1, float32: clips of " in text.getvalue()
    assert "measured on " in text.getvalue()
    assert not list(tmp_path.rglob("recipe.yaml"))
