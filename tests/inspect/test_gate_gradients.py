"""Gradients to the gates against finite differences, and their record over training against the run's own diary."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from memx.engine.checkpoint import load_checkpoint, restore
from memx.errors import DataError, UserError
from memx.inspect.clip_gradients import clip_gradients, pairs_of
from memx.inspect.gate_series import channel_axis
from memx.inspect.recording import NotSteppedError, memory_of
from memx.inspect.training_gradients import training_gradients
from memx.inspect.truth import as_in_training, find_case
from memx.losses import SegmentationLoss
from memx.memory.base import Memory
from memx.memory.gate import Gate
from memx.models.mask_propagator import MaskPropagator

LOSS = SegmentationLoss(points=None)


def move(memory: Memory, monkeypatch: pytest.MonkeyPatch, name: str, frame: int, channel: int, by: float) -> None:
    """Let the write of one frame use another gate: `by` more in one channel, all else as it is."""
    met = itertools.count()

    def meet(
        met_name: str,
        used: Tensor,
        axes: str,
        *,
        low: float = 0,
        high: float = 1,
        log: bool = False,
        fixed: Tensor | None = None,
    ) -> Tensor:
        if met_name != name or next(met) != frame:
            return used
        value = Gate(used, axes, low, high, log, fixed).value.clone()
        value.select(axes.split().index(channel_axis(axes)), channel).add_(by)
        return value.log() if log else value

    monkeypatch.setattr(memory, "meet", meet)


@pytest.mark.parametrize(
    ("memory", "gates"),
    [
        ("gated_delta", {"alpha", "beta"}),
        ("{type: gla, heads: 2, decay_per: token}", {"alpha"}),
        ("{type: mlstm, heads: 2}", {"alpha", "beta"}),
        ("conv_gru", {"alpha", "beta", "reset"}),
    ],
)
def test_gradients_are_those_of_finite_differences(memory, gates, run_of, clip, monkeypatch) -> None:
    """A gate is moved where it is used, which needs no derivative at all; float64, central differences."""
    recipe, tensors = load_checkpoint(run_of(memory))
    model = restore(recipe, tensors, "run").double()
    video, masks, supervised = as_in_training(recipe, *find_case(recipe, clip))
    video, masks = video.double(), masks.double()
    found = clip_gradients(model, LOSS, video, masks, supervised)
    assert found is not None
    assert {gate.name for gate in found.gates} == gates
    step = 1e-5
    for gate, (frame, channel) in itertools.product(found.gates, ((1, 0), (2, 1))):
        losses = []
        for by in (step, -step):
            move(memory_of(model), monkeypatch, gate.name, frame, channel, by)
            with torch.no_grad():
                losses.append(float(LOSS(model(video, auxiliary=True), masks, supervised)["total"]))
            monkeypatch.undo()
        slope = (losses[0] - losses[1]) / (2 * step)
        assert gate.channels[frame, 0, channel] == pytest.approx(slope, rel=1e-4, abs=1e-9), gate.name


def test_the_gates_of_the_last_frame_do_not_move_earlier_losses(run_of, clip) -> None:
    """Only what comes after a gate can feel it: with the second frame alone supervised, the third has no gradient."""
    recipe, tensors = load_checkpoint(run_of())
    model = restore(recipe, tensors, "run")
    video, masks, supervised = as_in_training(recipe, *find_case(recipe, clip))
    only_second = torch.zeros_like(supervised)
    only_second[:, 1] = True
    found = clip_gradients(model, LOSS, video, masks, only_second)
    assert found is not None
    assert {gate.name for gate in found.gates} == {"alpha", "beta"}
    for gate in found.gates:
        assert gate.norm[1] > 0
        assert not gate.norm[2]


def test_a_constant_has_no_gradient_although_the_loss_depends_on_it(run_of, clip, monkeypatch) -> None:
    """GDKVM's first frame is written plainly, β = 1 whatever the weights are: no step of training could move it."""
    recipe, tensors = load_checkpoint(run_of())
    model = restore(recipe, tensors, "run").double()
    video, masks, supervised = as_in_training(recipe, *find_case(recipe, clip))
    video, masks = video.double(), masks.double()
    losses = []
    for by in (0.0, 1e-3):
        move(memory_of(model), monkeypatch, "beta", 0, 0, by)
        with torch.no_grad():
            losses.append(float(LOSS(model(video, auxiliary=True), masks, supervised)["total"]))
        monkeypatch.undo()
    assert losses[0] != losses[1]
    found = clip_gradients(model, LOSS, video, masks, supervised)
    assert found is not None
    beta = next(gate for gate in found.gates if gate.name == "beta")
    assert not beta.norm[0]
    assert not beta.channels[0].any()
    assert beta.norm[1] > 0


def test_constants_are_in_no_figure_of_a_training(recipe_of) -> None:
    """Clips of one frame meet an empty state only: there is nothing that the gates could do."""
    found = training_gradients(recipe_of("gated_delta", "data.frames=1"), 2)
    assert found is not None
    for name in ("alpha", "beta"):
        assert not found.norms[name].any()
        assert not found.channels[name].any()
    assert np.isnan(found.pearson["alpha", "beta"]).all()
    assert np.isnan(found.matrix).all()
    gated = training_gradients(recipe_of("{type: gated_delta, start: gate}", "data.frames=1"), 2)
    assert gated is not None
    assert (gated.norms["beta"] > 0).all()


def test_a_training_that_does_not_step_its_memory_is_told_so(recipe_of, monkeypatch) -> None:
    """A model that writes and reads by itself, so that no step is seen."""

    def segment(self, video, objects=1, *, auxiliary=None):
        with monkeypatch.context() as patch:
            patch.delitem(self.memory.__dict__, "step")
            return plain(self, video, objects, auxiliary=auxiliary)

    plain = MaskPropagator.forward
    monkeypatch.setattr(MaskPropagator, "forward", segment)
    with pytest.raises(NotSteppedError, match="MaskPropagator does not call `step`"):
        training_gradients(recipe_of(), 2)


def test_fixed_gates_have_no_gradient(run_of, clip) -> None:
    recipe, tensors = load_checkpoint(run_of("retention"))
    model = restore(recipe, tensors, "run")
    batch = as_in_training(recipe, *find_case(recipe, clip))
    assert clip_gradients(model, LOSS, *batch) is None
    assert training_gradients(recipe, 2) is None


def test_steps_from_fresh_weights_are_the_runs_own(run_of) -> None:
    run = run_of()
    recipe, _ = load_checkpoint(run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    state = torch.get_rng_state()
    found = training_gradients(recipe, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert found is not None
    with (run / "history.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    np.testing.assert_array_equal(found.loss, losses[:3])
    assert found.norms.keys() == {"alpha", "beta"}
    for part in (found.pearson, found.cosine):
        assert part["alpha", "beta"].shape == (3,)
        assert (np.abs(part["alpha", "beta"]) <= 1).all()
    assert found.channels["alpha"].shape == (3, 8)
    assert found.matrix.shape == (16, 16)
    np.testing.assert_allclose(np.diag(found.matrix), 1)


def test_steps_from_the_runs_weights_start_there(run_of) -> None:
    recipe, tensors = load_checkpoint(run_of())
    fresh, trained = training_gradients(recipe, 2), training_gradients(recipe, 2, tensors=tensors, source="run")
    assert fresh is not None
    assert trained is not None
    assert trained.start == "trained"
    assert trained.loss[0] != fresh.loss[0]


@pytest.mark.parametrize("steps", [1, 5])
def test_too_few_and_too_many_steps_are_refused(steps, run_of) -> None:
    recipe, _ = load_checkpoint(run_of())
    with pytest.raises(UserError, match="from 2 to the 4 steps"):
        training_gradients(recipe, steps)


def test_a_clip_from_elsewhere_has_no_truth(run_of, tmp_path: Path) -> None:
    recipe, _ = load_checkpoint(run_of())
    with pytest.raises(DataError, match="is no clip of the run's data set"):
        find_case(recipe, tmp_path / "clip.avi")


def test_what_keeps_is_held_against_what_weighs() -> None:
    assert pairs_of(["alpha", "beta"]) == [("alpha", "beta")]
    assert pairs_of(["alpha", "beta_1", "beta_2", "reset"]) == [("alpha", "beta_1"), ("alpha", "beta_2")]
    assert pairs_of(["alpha"]) == []
