"""GDKVM's default parts give the released networks' numbers; see tests/fixtures/gdkvm/README.md."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from memx.models import MaskPropagator
from memx.models.gdkvm_names import our_name
from memx.registry import Part

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gdkvm"
SHAPES: dict[str, list[int]] = json.loads((FIXTURES / "state_dict.json").read_text())
RELEASES = {
    "raw_tiled": {"decay": "raw", "alpha_layout": "tiled"},
    "exp_interleaved": {"decay": "exp", "alpha_layout": "interleaved"},
}


def tensor_by_rule(name: str, shape: list[int]) -> torch.Tensor:
    n = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    if name.endswith("A_log"):
        n = np.log(np.linspace(0.05, 1.0, 8))
    elif name.endswith("dt_bias"):
        n = np.linspace(-3.0, 0.5, 8)
    elif name.endswith("running_mean"):
        n = 0.1 * n
    elif name.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif len(shape) == 1:
        n = 1 + 0.1 * n if name.endswith("weight") else 0.05 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(n)


def clip_by_rule(seed: int, frames: int, size: int) -> torch.Tensor:
    draw = np.random.Generator(np.random.PCG64(seed))
    centres, radii = draw.uniform(0.3, 0.7, (5, 2)), draw.uniform(0.08, 0.25, 5)
    amplitudes, phases = draw.uniform(0.3, 1.0, 5), draw.uniform(0, 6.28, 5)
    y, x = np.meshgrid(np.arange(size) / size, np.arange(size) / size, indexing="ij")

    def frame(t: int) -> np.ndarray:
        total = np.zeros((size, size))
        for (cy, cx), r, a, phase in zip(centres, radii, amplitudes, phases, strict=True):
            dy, dx = y - cy - 0.08 * np.sin(phase + t), x - cx - 0.08 * np.cos(phase + t)
            total += a * np.exp(-(dy**2 + dx**2) / (2 * r**2))
        return np.clip(total / 3, 0, 1)

    return torch.from_numpy(np.stack([frame(t) for t in range(frames)]))[None, :, None].float()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return {our_name(name): tensor_by_rule(name, shape) for name, shape in SHAPES.items()}


def build(release: str) -> MaskPropagator:
    memory = Part("memory", "gated_delta", RELEASES[release])
    return MaskPropagator(1, memory=memory, pixel_pairing="previous").eval()


def test_the_defaults_have_the_released_tensors():
    with torch.device("meta"):
        model = MaskPropagator(1)
    assert sum(p.numel() for p in model.parameters()) == 35_078_282
    ours = {k: list(x.shape) for k, x in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {our_name(name): shape for name, shape in SHAPES.items()} == ours


@pytest.mark.parametrize("release", RELEASES)
def test_the_golden_run_is_reproduced(release, weights):
    model, golden = build(release), np.load(FIXTURES / f"{release}.npz")
    missing, surplus = model.load_state_dict(weights, strict=False)
    assert not surplus
    assert all(name.endswith("num_batches_tracked") for name in missing)

    masks, states, state = [], [], model.init_state(1, 1)
    with torch.no_grad():
        for frame in clip_by_rule(1, 4, 64).unbind(1):
            out, state = model.step(frame, state, auxiliary=True)
            masks.append(out.masks)
            states.append(state.memory.S)
    ours = {
        "masks": torch.stack(masks, dim=1),
        "states": torch.stack(states, dim=1),
        "logits_last": out.logits,
        "sensory_logits_last": out.auxiliary.sensory,
        "query_logits_last": out.auxiliary.queries,
    }
    assert set(ours) == set(golden.files)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, torch.from_numpy(golden[name]), atol=1e-4, rtol=0, msg=name)
