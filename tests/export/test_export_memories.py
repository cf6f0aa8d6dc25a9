"""Every registered memory can be a graph: onnxruntime gives what the memory gives, frame after frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memx.errors import UserError
from memx.export import onnx_file
from memx.export.check import Tolerance, hold
from memx.export.clip import FRAMES, drawn_clip
from memx.export.facts import describe
from memx.export.program import trace
from memx.export.quiet import quiet
from memx.export.step import start
from memx.memory.base import Tokens
from memx.memory.state import State
from memx.models.base import VideoModel
from memx.models.output import Output
from memx.recipe import Recipe
from memx.registry import Part, memories

GRID, STRIDE = (2, 3), 8
SIZE = (GRID[0] * STRIDE, GRID[1] * STRIDE)
CASES: dict[str, tuple[str, dict[str, object]]] = {name: (name, {}) for name in memories.names()} | {
    "softmax_bounded": ("softmax", {"capacity": 2, "every": 2, "keep_first": True, "top_k": 5}),
    "gated_delta_spectral": ("gated_delta", {"normalize": "spectral"}),
}


class Bare(VideoModel):
    """A memory with as little around it as gives a mask, which the next frame's value sees."""

    def __init__(self, name: str, options: dict[str, object]):
        super().__init__()
        self.memory = Part("memory", name, options)(key_dim=8, value_dim=16, feature_dim=8)
        self.key, self.value = nn.Conv2d(1, 8, STRIDE, STRIDE), nn.Conv2d(2, 16, STRIDE, STRIDE)
        self.mask = nn.Linear(16, 1)

    def init_state(self, batch=1, objects=1, *, size=None, device=None, dtype=None) -> State:
        return State(mask=torch.zeros(batch, 1, *SIZE), memory=self.memory.init_state(batch))

    def allocate(self, state: State, size: tuple[int, int]) -> State:
        return state.replace(memory=self.memory.allocate(state.memory, GRID))

    def step(self, frame: Tensor, state: State, *, auxiliary: bool | None = None) -> tuple[Output, State]:
        key = self.key(frame).flatten(2).mT
        value = self.value(torch.cat([frame, state.mask], dim=1)).flatten(2).mT.unsqueeze(1)
        tokens = Tokens(key=key, query=key, value=value, feature=key, size=GRID)
        out, memory = self.memory.step(state.memory, tokens)
        logit = F.interpolate(self.mask(out)[..., 0].unflatten(-1, GRID), size=SIZE, mode="nearest")
        logits = torch.cat([torch.zeros_like(logit), logit], dim=1)
        masks = logits.softmax(dim=1)[:, 1:]
        return Output(masks, logits), State(mask=masks, memory=memory)


@pytest.mark.parametrize("case", CASES)
def test_onnx_gives_what_the_memory_gives(case: str, tmp_path: Path) -> None:
    model = Bare(*CASES[case]).eval()
    with quiet():
        program = trace(model, channels=1, size=SIZE, batch=1, objects=1)
        state = start(model, torch.zeros(1, 1, *SIZE), objects=1)
        facts = describe(Recipe.load("gdkvm_phantom"), state, size=SIZE, batch=1, objects=1)
        onnx_file.write(tmp_path / "step.onnx", program, facts, opset=None)
    step, clip, tolerance = onnx_file.OnnxStep(tmp_path / "step.onnx"), drawn_clip(1, 1, SIZE), Tolerance(1e-5, 1e-4)
    agreement = hold(step, model, clip, 1, tolerance)
    remembers = CASES[case][0] != "none"
    assert (agreement.spread > 1e-3) == remembers  # a mask that is the same everywhere would agree with any
    for name in [leaf.name for leaf in state if leaf.name.startswith("memory.") and remembers]:
        with pytest.raises(UserError, match=rf"the state's {name} differ by"):
            hold(Altered(step, name), model, clip, 1, tolerance)


class Altered:
    """A step whose last frame leaves one tensor of the state a little wrong, which no mask sees."""

    def __init__(self, step: onnx_file.OnnxStep, name: str):
        self.facts, self.engine, self.step, self.frame = step.facts, step.engine, step, 0
        self.index = [leaf["name"] for leaf in step.facts["state"]].index(name) + 2

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs, self.frame = self.step(frame, state), self.frame + 1
        x = outputs[self.index]
        if self.frame == FRAMES:
            outputs[self.index] = ~x if x.dtype == bool else x + 1 if x.dtype.kind == "i" else x * np.float32(1.01)
        return outputs


@pytest.mark.parametrize("case", CASES)
def test_an_allocated_state_recalls_what_an_empty_one_does(case: str) -> None:
    """From both, all frames give the same. Shapes stay, but for the slots of an unbounded softmax memory."""
    name, options = CASES[case]
    memory = Part("memory", name, options)(key_dim=4, value_dim=8, feature_dim=4).double()
    state = memory.init_state(2, 2, dtype=torch.float64)
    held = memory.allocate(state, GRID)
    assert list(held.tensors()) == list(state.tensors())
    n = GRID[0] * GRID[1]
    for _ in range(4):
        key, value = torch.randn(2, n, 4, dtype=torch.float64), torch.randn(2, 2, n, 8, dtype=torch.float64)
        tokens = Tokens(key=key, query=key, value=value, feature=key, size=GRID)
        with torch.no_grad():
            wanted, state = memory.step(state, tokens)
            found, after = memory.step(held, tokens)
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
        if "every" not in options:  # outside a graph slots that nobody uses are left out
            for path, x in held.tensors().items():
                changes = np.subtract(after.tensors()[path].shape, x.shape)
                assert sorted(changes)[:-1] == [0] * (x.ndim - 1), path
                assert max(changes) == (name == "softmax" and "capacity" not in options and path != "count"), path
        held = after
