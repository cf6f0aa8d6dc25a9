"""`memx inspect`, as a user types it: what it writes, what it says is missing, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memx.models.mask_propagator import MaskPropagator

FIGURES = {"gates.png", "gate_curves.png", "state.png", "readout.png"}
NUMBERS = {"frames.csv", "numbers.npz", "summary.json", "report.html"}


@pytest.fixture
def inspect(command):
    return partial(command, "inspect")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_imported_weights_have_no_first_steps_and_data_are_looked_for_first(
    inspect, run_of, clip, tmp_path: Path
) -> None:
    run = shutil.copytree(run_of(), tmp_path / "imported")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "imported": {"file": "x.pth"}}))
    status, _, err = inspect(run, clip, "--out", tmp_path / "out", "--steps", "3")
    assert (status, "say --start trained" in err) == (2, True)
    words = ("--steps", "3", "--start", "trained", f"data.root={tmp_path / 'nowhere'}")
    status, _, err = inspect(run, clip, "--out", tmp_path / "out", *words)
    assert (status, "nowhere" in err) == (2, True)
    assert "frames" not in err, "the clip is not read before the data are found"
    assert not (tmp_path / "out").exists()


def test_everything_is_drawn_and_written_and_a_later_inspection_takes_its_place(
    inspect, run_of, clip, tmp_path: Path
) -> None:
    """What a later one does not write anew goes, so that all that lies there is of one inspection; a user's file
    stays."""
    run, out = run_of(), tmp_path / "out"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    status, shown, err = inspect(run, clip, "--out", out, "--steps", "3")
    assert status == 0, err
    notes = [line for line in shown.splitlines() if line.startswith("note")]
    empty = "note   The model predicts nothing in this clip: there is no contour to draw."
    assert notes in ([], [empty]), "it was hardly trained; all else is there"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert names(out) == FIGURES | NUMBERS | {"clip_gradients.png", "training_gradients.png", "steps.csv"}
    for name in FIGURES:
        assert min(Image.open(out / name).size) > 300
    page = (out / "report.html").read_text(encoding="utf-8")
    for words in ("α, β over time and channels", "Roy and Vetterli", "What is read, and where", "∂L/∂gate"):
        assert words in page, words
    with np.load(out / "numbers.npz", allow_pickle=False) as arrays:
        frames = len(arrays["state_bytes"])
        assert arrays["alpha/channels"].shape == (frames, 1, 8)
        assert arrays["alpha/rows"].shape == (frames, 1, 8)
        assert arrays["readout_map"].shape == (frames, 1, 2, 2)
        assert arrays["gradient/beta/channels"].shape == (3, 1, 8)
        assert arrays["training/correlation_over_steps"].shape == (16, 16)
        with (out / "frames.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [float(row["effective_rank"]) for row in rows] == pytest.approx(arrays["effective_rank"][:, 0], rel=1e-5)
        assert [float(row["alpha_mean"]) for row in rows] == pytest.approx(arrays["alpha/mean"][:, 0], rel=1e-5)
    with (out / "steps.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    summary = json.loads((out / "summary.json").read_text())
    assert summary["memory"] == "gated_delta"
    assert summary["training"] == {"start": "fresh", "steps": 3}
    assert -1 <= summary["clip_gradients"]["pearson"]["α and β"] <= 1

    (out / "mine.png").write_bytes(b"")
    status, _, err = inspect(run_of("softmax"), clip, "--out", out)
    assert status == 0, err
    assert names(out) == {"state.png", "readout.png", "mine.png"} | NUMBERS
    assert set(json.loads((out / "summary.json").read_text())["inspection"]) == names(out) - {"mine.png"}


@pytest.mark.parametrize(
    ("memory", "left_out", "says"),
    [
        ("softmax", {"gates.png", "gate_curves.png"}, "state is no matrix"),
        ("retention", set(), "they are fixed numbers"),
    ],
)
def test_a_memory_without_gates_or_matrix_shows_the_rest_and_says_so(
    memory, left_out, says, inspect, run_of, clip, tmp_path: Path
) -> None:
    status, shown, err = inspect(run_of(memory), clip, "--out", tmp_path)
    assert status == 0, err
    assert says in shown
    assert ("meets no gates" in shown) == bool(left_out)
    assert names(tmp_path) == (FIGURES - left_out) | NUMBERS
    assert says in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_of_other_things_is_refused(inspect, run_of, clip, tmp_path: Path) -> None:
    """Such as that of `memx predict`, whose report would be written over."""
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "summary.json").write_text('{"clips": []}')
    status, _, err = inspect(run_of(), clip, "--out", tmp_path)
    assert status == 2
    assert "holds other things than an inspection" in err
    assert names(tmp_path) == {"report.html", "summary.json"}
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_model_whose_training_does_not_step_its_memory_is_told_so(
    inspect, run_of, clip, tmp_path, monkeypatch
) -> None:
    """Its frames are shown; of its gradients nothing is known, which is not to say that the gates are fixed."""

    def segment(self, video, objects=1, *, auxiliary=None):
        with monkeypatch.context() as patch:
            patch.delitem(self.memory.__dict__, "step")
            return plain(self, video, objects, auxiliary=auxiliary)

    run, plain = run_of(), MaskPropagator.forward
    monkeypatch.setattr(MaskPropagator, "forward", segment)
    status, shown, err = inspect(run, clip, "--out", tmp_path, "--steps", "2")
    assert status == 0, err
    assert shown.count("MaskPropagator does not call `step` of its memory") == 2
    assert "fixed numbers" not in shown
    assert names(tmp_path) == FIGURES | NUMBERS


def test_a_clip_from_elsewhere_and_a_file_of_weights(
    inspect, run_of, clip, phantom_root: Path, tmp_path: Path, monkeypatch
) -> None:
    """A copy of the clip is none of the data set's files, so its true masks are not known; all else is there."""
    shutil.copy(clip, tmp_path / "mine.nii.gz")
    shutil.copy(run_of() / "last" / "model.safetensors", tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    status, shown, err = inspect("weights.safetensors", "mine.nii.gz", f"data.root={phantom_root}")
    assert status == 0, err
    assert "is no clip of the run's data set" in shown
    assert names(tmp_path / "inspect" / "weights_mine") == FIGURES | NUMBERS


def test_several_objects_have_figures_of_their_own(inspect, run_of, clip, tmp_path: Path) -> None:
    run = run_of("gated_delta", "data.structures={lv: [1], la: [3]}", "model.identities=2")
    status, _, err = inspect(run, clip, "--out", tmp_path)
    assert status == 0, err
    assert {"gates_lv.png", "gates_la.png", "gate_curves_la.png", "clip_gradients_la.png", "readout.png"} <= names(
        tmp_path
    )
    with (tmp_path / "frames.csv").open() as file:
        assert {"alpha_mean_lv", "effective_rank_la", "area_px_la"} <= set(next(csv.reader(file)))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "CLIP"], "no such run folder or checkpoint"),
        (["RUN", "nowhere.avi"], "no such file or folder"),
        (["RUN", "CLIP", "CLIP"], "takes one clip, got 2"),
        (["RUN", "FOLDER"], "name one, e.g."),
        (["RUN", "CLIP", "--steps", "1"], "from 2 to the 4 steps"),
        (["RUN", "CLIP", "--steps", "99"], "from 2 to the 4 steps"),
        (["RUN", "CLIP", "--start", "trained"], "say how many"),
        (["RUN", "CLIP", "--start", "frsh", "--steps", "2"], "did you mean 'fresh'"),
        (["RUN", "CLIP", "--crop", "atuo"], "did you mean 'auto'"),
        (["RUN", "CLIP", "--out", "RUN"], "is a run folder, which an inspection leaves alone"),
        (["RUN", "CLIP", "train.batch=3"], "the run is trained already"),
        (["RUN", "CLIP", "data.root=nowhere", "--steps", "2"], "nowhere"),
    ],
)
def test_mistakes_get_one_message_and_status_2(words, says, inspect, run_of, clip, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = {"RUN": run_of(), "CLIP": clip, "FOLDER": clip.parent}
    status, _, err = inspect(*[known.get(word, word) for word in words])
    assert status == 2
    assert says in err, err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
