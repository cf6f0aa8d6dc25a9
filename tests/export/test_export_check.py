"""What an exported step is held to: masks, logits and every tensor of the state, also where the network is sure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import memx
from memx.errors import UserError
from memx.export.check import ModelStep, Tolerance, hold
from memx.export.clip import drawn_clip
from memx.export.facts import describe
from memx.export.step import start
from memx.models.base import VideoModel

SIZE = (16, 24)
RECIPE = memx.Recipe.load(
    "gdkvm_phantom",
    [
        "model.image_encoder.width=8",
        "model.value_encoder.width=4",
        "model.key_dim=8",
        "model.value_dim=16",
        "model.pixel_dim=16",
        "model.sensory_dim=8",
        "model.decoder.dim=8",
        "model.refiner=null",
    ],
)
Outputs = list[np.ndarray]


def network(sharpness: float, bias: float) -> VideoModel:
    """A random network whose mask logits are `sharpness` times as large, and moved to `bias`."""
    torch.manual_seed(0)
    model = memx.build(RECIPE).eval()
    seen: list[Tensor] = []
    predict = model.decoder.predict  # type: ignore[union-attr]
    with torch.no_grad():
        predict.weight.mul_(sharpness)  # type: ignore[union-attr, operator]
        hook = predict.register_forward_hook(lambda _, __, logits: seen.append(logits))  # type: ignore[union-attr, operator]
        model(drawn_clip(2, 1, SIZE))
        hook.remove()
        predict.bias.add_(bias - torch.cat([x.flatten() for x in seen]).median())  # type: ignore[union-attr, operator]
    return model


@pytest.fixture(scope="module")
def sure() -> VideoModel:
    """As a trained network on frames that it finds nothing in: probabilities below --atol, which differ a lot."""
    return network(sharpness=2, bias=-12)


class Changed(ModelStep):
    """A network's step with its outputs changed."""

    def __init__(self, model: VideoModel, change: Callable[[Outputs], Outputs], *, batch: int | None = 1):
        state = start(model, torch.zeros(1, 1, *SIZE), 1)
        super().__init__(model, state, describe(RECIPE, state, size=SIZE, batch=batch, objects=1))
        self.change = change
        self.names = ["masks", "logits", *(leaf.name for leaf in state)]

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> Outputs:
        return self.change(super().__call__(frame, state))


def held(model: VideoModel, change: Callable[[Outputs], Outputs], clips: int = 1, **fixed: int | None):
    return hold(Changed(model, change, **fixed), model, drawn_clip(clips, 1, SIZE), 1, Tolerance())


def test_the_networks_own_step_agrees_where_its_masks_say_nothing(sure: VideoModel) -> None:
    agreement = held(sure, lambda outputs: outputs)
    assert agreement.spread < 1e-4
    assert agreement.masks.largest == agreement.logits.largest == 0
    assert list(agreement.state) == ["mask", "memory.S", "memory.empty", "sensory"]


@pytest.mark.parametrize("name", ["logits", "memory.S", "memory.empty", "sensory"])
def test_each_output_is_held_where_masks_say_nothing(sure: VideoModel, name: str) -> None:
    """One per cent of it, or a flag, is enough, and the masks that come out stay as they are."""

    def change(outputs: Outputs) -> Outputs:
        outputs[index] = ~outputs[index] if outputs[index].dtype == bool else outputs[index] * np.float32(1.01)
        return outputs

    step = Changed(sure, change)
    index = step.names.index(name)
    with pytest.raises(UserError, match=rf"in frame 1 .*{name} differ by .* above --rtol 0\.001"):
        hold(step, sure, drawn_clip(1, 1, SIZE), 1, Tolerance())


def test_another_networks_graph_is_refused_where_masks_say_nothing(sure: VideoModel) -> None:
    other = copy.deepcopy(sure)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.startswith("memory."):
                parameter.mul_(1.2)
    state = start(other, torch.zeros(1, 1, *SIZE), 1)
    step = ModelStep(other, state, describe(RECIPE, state, size=SIZE, batch=1, objects=1))
    with pytest.raises(UserError, match=r"memory\.S differ by"):
        hold(step, sure, drawn_clip(1, 1, SIZE), 1, Tolerance())


def test_an_open_batch_is_run_with_one_clip(sure: VideoModel) -> None:
    """One is the size that tracing takes for a constant."""

    def wrong_alone(outputs: Outputs) -> Outputs:
        return [outputs[0] + np.float32(len(outputs[0]) == 1), *outputs[1:]]

    assert held(sure, lambda outputs: outputs, 3, batch=None).batches == (3, 1)
    with pytest.raises(UserError, match=r"in a batch of 1, masks differ by 1\.0e\+00"):
        held(sure, wrong_alone, 3, batch=None)


def test_what_is_not_finite_is_refused(sure: VideoModel) -> None:
    with pytest.raises(UserError, match="masks differ by nan"):
        held(sure, lambda outputs: [outputs[0] * np.float32("nan"), *outputs[1:]])


def test_another_shape_is_refused(sure: VideoModel) -> None:
    with pytest.raises(UserError, match=r"memory\.S: of shape"):
        held(sure, lambda outputs: [x[..., :1] if i == 3 else x for i, x in enumerate(outputs)])


class Exact(ModelStep):
    """The step computed in float64: as right as can be, and apart from the model by the model's own rounding."""

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> Outputs:
        def cast(x: np.ndarray, to: type) -> np.ndarray:
            return x.astype(to) if x.dtype.kind == "f" else x

        wide = super().__call__(cast(frame, np.float64), [cast(x, np.float64) for x in state])
        return [cast(x, np.float32) for x in wide]


def test_rounding_of_a_network_that_is_sure_of_itself_is_no_disagreement() -> None:
    """Logits of float32 probabilities near 1 have few digits, and masks between them and 0 are apart by more than
    --atol; the state, which has its digits, is held nonetheless."""
    model = network(sharpness=30, bias=0)
    state = start(model, torch.zeros(1, 1, *SIZE), 1)
    facts = describe(RECIPE, state, size=SIZE, batch=1, objects=1)
    step = Exact(copy.deepcopy(model).double(), state, facts)
    agreement = hold(step, model, drawn_clip(1, 1, SIZE), 1, Tolerance())
    assert agreement.masks.largest > 1e-4
    assert agreement.spread > 0.5
    assert agreement.state["memory.S"].rounding < 1e-3
    with pytest.raises(UserError, match=r"memory\.S differ by"):
        held(model, lambda outputs: [x * np.float32(1.02) if i == 3 else x for i, x in enumerate(outputs)])


def test_rounding_excuses_no_other_network() -> None:
    """However much rounding moves a network, the opposite of its masks is not its masks."""
    with pytest.raises(UserError, match=r"masks differ by"):
        held(network(sharpness=100, bias=0), lambda outputs: [1 - outputs[0], *outputs[1:]])


def test_clips_are_drawn_the_same_and_differ_from_each_other() -> None:
    clips = drawn_clip(6, 3, (32, 20))
    assert clips.shape == (6, 6, 3, 32, 20)
    assert torch.equal(clips, drawn_clip(6, 3, (32, 20)))
    assert clips.min() >= 0
    assert 0.3 < clips.max() <= 1
    for i in range(6):
        assert (clips[i, 1:] - clips[i, :-1]).abs().max() > 0.01  # it moves
        assert all((clips[i] - clips[j]).abs().mean() > 0.01 for j in range(i))
