"""Weights and clips by rule, on which the golden runs of tests/fixtures/gdkvm were made."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gdkvm"
SHAPES: dict[str, list[int]] = json.loads((FIXTURES / "state_dict.json").read_text())


def tensor_by_rule(name: str, shape: list[int]) -> torch.Tensor:
    """The tensor of a released name, float64."""
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


def released_tensors() -> dict[str, torch.Tensor]:
    """Every tensor of the released network under its released name, float32; buffers that count batches left out."""
    return {name: tensor_by_rule(name, shape).float() for name, shape in SHAPES.items()}


def clips_by_rule(seed: int, frames: int, height: int, width: int, batch: int = 1) -> torch.Tensor:
    """Clips (b t 1 y x) in [0, 1] of five soft blobs that move."""
    draw = np.random.Generator(np.random.PCG64(seed))
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")

    def clip() -> np.ndarray:
        centres, radii = draw.uniform(0.3, 0.7, (5, 2)), draw.uniform(0.08, 0.25, 5)
        amplitudes, phases = draw.uniform(0.3, 1.0, 5), draw.uniform(0, 6.28, 5)

        def frame(t: int) -> np.ndarray:
            total = np.zeros((height, width))
            for (cy, cx), r, a, phase in zip(centres, radii, amplitudes, phases, strict=True):
                dy, dx = y - cy - 0.08 * np.sin(phase + t), x - cx - 0.08 * np.cos(phase + t)
                total += a * np.exp(-(dy**2 + dx**2) / (2 * r**2))
            return np.clip(total / 3, 0, 1)

        return np.stack([frame(t) for t in range(frames)])

    return torch.from_numpy(np.stack([clip() for _ in range(batch)]))[:, :, None].float()
