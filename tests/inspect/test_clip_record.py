"""A model whose memory is known to the last token: where its readout is drawn, and what is said of odd memories."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from memx.data.streams import open_stream
from memx.inspect.clip import ClipRecord, record_clip
from memx.inspect.clip_gradients import clip_gradients
from memx.inspect.recording import NotSteppedError
from memx.inspect.results import Inspection, write_inspection
from memx.inspect.training_gradients import TrainingGradients
from memx.losses import SegmentationLoss
from memx.memory.base import Memory, Tokens
from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.models.padding import pad
from memx.recipe import Recipe

FRAMES = 5


class Scaled(Memory):
    """Reads the frame's values, scaled by a gate that only every second frame meets."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 0.25]))

    def init_state(self, batch, objects=1, *, device=None, dtype=None) -> State:
        return State(S=torch.zeros(batch, objects, 2, 2), count=torch.zeros(batch, dtype=torch.int64))

    def write(self, state: State, frame: Tokens) -> State:
        S, odd = frame.key.mT[:, None] @ frame.value, int(state.count[0]) % 2
        if odd:
            S = self.meet("beta", self.scale.expand(len(S), -1), "b v")[:, None, None] * S
            S = self.meet("alpha", self.scale.square().expand(len(S), -1), "b v")[:, None, None] * S
        return state.replace(S=S, count=state.count + 1)

    def read(self, state: State, frame: Tokens) -> Tensor:
        return frame.value + 0 * frame.query[:, None] @ state.S


class Spot(VideoModel):
    """Every token's value is zero but that of one token, given by its row and column; the memory's readout is that."""

    def __init__(self, stride: int, at: tuple[int, int], calls: Literal["step", "write", "nothing"] = "step"):
        super().__init__()
        self.stride = self.side = stride
        self.at, self.calls, self.memory = at, calls, Scaled()

    def init_state(self, batch=1, objects=1, *, size=None, device=None, dtype=None) -> State:
        return State(memory=self.memory.init_state(batch, objects))

    def step(self, frame, state, *, auxiliary=None) -> tuple[Output, State]:
        cells = F.avg_pool2d(pad(frame, self.side), self.side)
        value = torch.zeros(*cells.shape, 2)
        value[:, :, self.at[0], self.at[1]] = torch.tensor([3.0, 4.0])
        key = cells.flatten(-2).mT.expand(-1, -1, 2)
        tokens = Tokens(key, key, value.flatten(2, 3), size=(cells.shape[-2], cells.shape[-1]))
        memory = state.memory
        if self.calls == "step":
            memory = self.memory.step(memory, tokens)[1]
        elif self.calls == "write":
            memory = self.memory.write(memory, tokens)
        logits = torch.cat([torch.zeros_like(frame), frame + memory.S.sum()], dim=1)
        return Output(logits.softmax(1)[:, 1:], logits), state.replace(memory=memory)

    def forward(self, video, objects=1, *, auxiliary=None) -> Output:
        state, outputs = self.init_state(len(video), objects), []
        for frame in video.unbind(1):
            output, state = self.step(frame, state)
            outputs.append(output)
        return Output.stack(outputs)


def recorded(model: Spot, size: tuple[int, int], folder: Path) -> tuple[ClipRecord, Recipe]:
    """The model on a clip of `size`, which it is shown as it is."""
    for i in range(FRAMES):
        pixels = np.random.default_rng(i).integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    recipe = Recipe.load("gdkvm_phantom", [f"data.size=[{size[0]}, {size[1]}]"])
    return record_clip(model, recipe, open_stream(folder), crop="none"), recipe


@pytest.mark.parametrize(
    ("size", "stride", "at", "rows", "columns"),
    [
        ((100, 100), 16, (6, 6), (96, 100), (96, 100)),  # 7 × 7 tokens over 112 × 112
        ((100, 100), 16, (3, 0), (48, 64), (0, 16)),
        ((24, 40), 16, (1, 1), (16, 24), (16, 32)),  # 2 × 3 tokens over 32 × 48
        ((64, 96), 16, (2, 5), (32, 48), (80, 96)),  # nothing to pad
    ],
)
def test_a_token_is_drawn_where_it_lies_in_the_padded_frame(size, stride, at, rows, columns, tmp_path: Path) -> None:
    record, _ = recorded(Spot(stride, at), size, tmp_path)
    want = np.zeros(size)
    want[slice(*rows), slice(*columns)] = 5  # |(3, 4)|
    for picture in record.pictures:
        assert picture.norm is not None
        np.testing.assert_array_equal(picture.norm[0], want)


def test_a_gate_that_some_frames_do_not_meet_is_blank_there(tmp_path: Path) -> None:
    model = Spot(16, (0, 0))
    record, recipe = recorded(model, (32, 32), tmp_path)
    met = [False, True, False, True, False]
    gates = {gate.name: gate for gate in record.gates}
    assert gates.keys() == {"alpha", "beta"}
    for gate in gates.values():
        assert np.isfinite(gate.mean[:, 0]).tolist() == met
        assert np.isfinite(gate.channels).all((1, 2)).tolist() == met
    np.testing.assert_allclose(gates["beta"].channels[1, 0], [0.5, 0.25])

    video, masks = torch.rand(1, FRAMES, 1, 32, 32), torch.rand(1, FRAMES, 1, 32, 32).round()
    supervised = torch.ones(1, FRAMES, dtype=torch.bool)
    found = clip_gradients(model, SegmentationLoss(points=None), video, masks, supervised)
    assert found is not None
    for gate in found.gates:
        assert np.isfinite(gate.norm).tolist() == met
        assert np.isfinite(gate.channels).all((1, 2)).tolist() == met
    assert np.isfinite(found.pairs["alpha", "beta"].cosine).tolist() == met

    page = write_inspection(Inspection(recipe, "w", "scaled", record, found, None, ()), tmp_path / "out")
    assert '<dd class="value">0.375</dd><dd class="detail">mean after the first frame' in page.read_text("utf-8")


def test_without_a_stride_nothing_is_drawn_over_the_frame(tmp_path: Path) -> None:
    model = Spot(16, (0, 0))
    assert recorded(model, (32, 32), tmp_path)[0].readout_map is not None
    del model.stride
    record, _ = recorded(model, (32, 32), tmp_path)
    assert record.readout_map is None
    assert all(picture.norm is None and picture.component is None for picture in record.pictures)
    assert (record.readout_norm > 0).all()


@pytest.mark.parametrize("calls", ["write", "nothing"])
def test_a_model_that_does_not_step_its_memory_is_told_so(calls, tmp_path: Path) -> None:
    """Nothing is known of its gates then; it is not said that they are fixed numbers."""
    model = Spot(16, (0, 0), calls)
    with pytest.raises(NotSteppedError, match=r"Spot does not call `step` of its memory once a frame.*0 calls for 1 "):
        recorded(model, (32, 32), tmp_path)
    video = torch.rand(1, 2, 1, 32, 32)
    with pytest.raises(NotSteppedError, match="0 calls for 2 frames"):
        clip_gradients(model, SegmentationLoss(points=None), video, video.round(), torch.ones(1, 2, dtype=torch.bool))
    assert "step" not in model.memory.__dict__


def test_the_mean_over_the_steps_counts_those_that_have_one(tmp_path: Path) -> None:
    record, recipe = recorded(Spot(16, (0, 0)), (32, 32), tmp_path)
    some, none = np.array([np.nan, 0.25, 0.75]), np.full(3, np.nan)
    pairs = {("alpha", "beta_1"): some, ("alpha", "beta_2"): none, ("alpha", "beta_3"): np.array([0.1, 0.2, 0.3])}
    channels = {"alpha": np.random.default_rng(0).normal(size=(3, 2))}
    training = TrainingGradients("fresh", np.ones(3), {"alpha": np.ones(3)}, pairs, pairs, channels, np.eye(2))
    page = write_inspection(Inspection(recipe, "w", "scaled", record, None, training, ()), tmp_path / "out")
    text = page.read_text("utf-8")
    for value, detail in (("0.50", "2 of 3 steps"), ("–", "0 of 3 steps"), ("0.20", "3 steps")):
        assert f'<dd class="value">{value}</dd><dd class="detail">gradients, mean of {detail}</dd>' in text
