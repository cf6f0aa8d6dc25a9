"""∂L/∂gate at every frame of one clip, and how alike the gradients of two gates are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.inspect.correlation import Alike, alike
from memx.inspect.gate_series import CHANNELS, channel_axis, table
from memx.inspect.recording import MemoryFrame, NotSteppedError, memory_of, met, recording
from memx.losses.base import Loss
from memx.memory.gate import Gate
from memx.models.base import VideoModel

WEIGHS = "beta"
KEEPS = "alpha"


@dataclass(frozen=True)
class GateGradient:
    """∂L/∂gate over the frames of a clip, summed over all axes but object and channel.

    The sum is the gradient to a gate that is one number an object and channel. `channel` as in `GateSeries`;
    `norm` (t) is the Frobenius norm of the whole gradient, not of the sums. NaN in frames that did not meet the gate,
    0 in those in which it is a constant.
    """

    name: str
    channel: str
    channels: Float[np.ndarray, "t o c"]
    norm: Float[np.ndarray, " t"]


@dataclass(frozen=True)
class ClipGradients:
    """Gradients of the loss of one clip to its gates, at fixed weights in evaluation mode; of two gates, how alike."""

    loss: float
    supervised: Bool[np.ndarray, " t"]
    gates: tuple[GateGradient, ...]
    pairs: dict[tuple[str, str], Alike]

    def arrays(self) -> dict[str, np.ndarray]:
        """Every figure as a named array."""
        found: dict[str, np.ndarray] = {"gradient/supervised": self.supervised}
        for gate in self.gates:
            found |= {f"gradient/{gate.name}/channels": gate.channels, f"gradient/{gate.name}/norm": gate.norm}
        for (first, second), pair in self.pairs.items():
            place = f"gradient/{first}·{second}"
            found |= {f"{place}/pearson": pair.pearson, f"{place}/cosine": pair.cosine}
        return found


def clip_gradients(
    model: VideoModel,
    loss: Loss,
    video: Float[Tensor, "1 t c y x"],
    masks: Float[Tensor, "1 t o y x"],
    supervised: Bool[Tensor, "1 t"],
    *,
    seed: int = 0,
) -> ClipGradients | None:
    """∂L/∂gate for every gate that a frame meets, L the loss of the whole clip; None where no gate has a gradient.

    The gates of frame t act on all later frames through the state and through the masks that are fed back, and both
    ways are part of the gradient. The model is in evaluation mode, so that batch norms stay as they are; `seed` is
    what points of the loss are drawn by.

    Raises NotSteppedError for a model that does not call its memory's `step` once a frame.
    """
    memory = memory_of(model)
    model.eval()
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), recording(memory) as frames:
        torch.manual_seed(seed)
        output = model(video, objects=masks.shape[2], auxiliary=True)
        total = loss(output, masks, supervised)["total"]
    if len(frames) != video.shape[1]:
        raise NotSteppedError(model, len(frames), video.shape[1])
    used = [gate.used for frame in frames for gate in frame.gates.values() if gate.used.requires_grad]
    if not used:
        return None
    slopes = iter(torch.autograd.grad(total, used, allow_unused=True, materialize_grads=True))
    found = slopes_by_gate(frames, lambda gate: next(slopes))
    axes = {name: gate.axes for name, gate in met(frames).items()}
    return ClipGradients(
        float(total.detach()),
        supervised[0].cpu().numpy(),
        tuple(_gradient(name, axes[name], parts) for name, parts in found.items()),
        {(a, b): alike(found[a], axes[a], found[b], axes[b]) for a, b in pairs_of(list(found))},
    )


def slopes_by_gate(
    frames: Sequence[MemoryFrame], slope: Callable[[Gate], Tensor | None]
) -> dict[str, list[Tensor | None]]:
    """∂L/∂gate of every frame, by gate; None where the frame did not meet it. Gates without any gradient are left out.

    `slope` gives ∂L/∂used, or None where the loss does not depend on it. It is asked frame by frame, and only for gates
    that gradients reach: those that one frame computes and another takes as a constant are 0 in the latter.
    """
    learnt = {name for frame in frames for name, gate in frame.gates.items() if gate.used.requires_grad}
    found: dict[str, list[Tensor | None]] = {name: [] for name in met(frames) if name in learnt}
    for frame in frames:
        slopes = {name: slope(gate) if gate.used.requires_grad else None for name, gate in frame.gates.items()}
        for name, parts in found.items():
            gate = frame.gates.get(name)
            if gate is None:
                parts.append(None)
                continue
            of_used = slopes[name]
            parts.append(gate.gradient(torch.zeros_like(gate.used) if of_used is None else of_used).detach())
    return found


def pairs_of(names: list[str]) -> list[tuple[str, str]]:
    """Which gates are held against each other: what keeps against what weighs, or without such all with all."""
    keeping = [name for name in names if name.startswith(KEEPS)]
    weighing = [name for name in names if name.startswith(WEIGHS)]
    if keeping and weighing:
        return [(first, second) for first in keeping for second in weighing]
    return list(combinations(names, 2))


def _gradient(name: str, axes: str, slopes: Sequence[Tensor | None]) -> GateGradient:
    channel = channel_axis(axes)
    like = next(slope for slope in slopes if slope is not None)
    parts = [torch.full_like(like, torch.nan) if slope is None else slope for slope in slopes]
    channels = [table(part.double().cpu(), axes, "o", channel).sum(-1).numpy() for part in parts]
    return GateGradient(
        name, CHANNELS.get(channel, ""), np.stack(channels), np.array([float(part.norm()) for part in parts])
    )
