"""∂L/∂gate at every frame of one clip, and how alike the gradients of two gates are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memx.inspect.correlation import Alike, alike
from memx.inspect.gate_series import CHANNELS, channel_axis, table
from memx.inspect.recording import memory_of, recording
from memx.losses.base import Loss
from memx.memory.gate import Gate
from memx.models.base import VideoModel

WEIGHS = "beta"
KEEPS = "alpha"


@dataclass(frozen=True)
class GateGradient:
    """∂L/∂gate over the frames of a clip, summed over all axes but object and channel.

    The sum is the gradient to a gate that is one number an object and channel. `channel` as in `GateSeries`;
    `norm` (t) is the Frobenius norm of the whole gradient, not of the sums.
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
    """
    memory = memory_of(model)
    model.eval()
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), recording(memory) as frames:
        torch.manual_seed(seed)
        output = model(video, objects=masks.shape[2], auxiliary=True)
        total = loss(output, masks, supervised)["total"]
    names = [name for name, gate in frames[0].gates.items() if gate.used.requires_grad] if frames else []
    if not names:
        return None
    used = [frame.gates[name].used for name in names for frame in frames]
    slopes = iter(torch.autograd.grad(total, used, allow_unused=True, materialize_grads=True))
    found = {name: [frame.gates[name].gradient(next(slopes)) for frame in frames] for name in names}
    axes = {name: frames[0].gates[name].axes for name in names}
    return ClipGradients(
        float(total.detach()),
        supervised[0].cpu().numpy(),
        tuple(_gradient(name, frames[0].gates[name], found[name]) for name in names),
        {(a, b): alike(found[a], axes[a], found[b], axes[b]) for a, b in pairs_of(names)},
    )


def pairs_of(names: list[str]) -> list[tuple[str, str]]:
    """Which gates are held against each other: what keeps against what weighs, or without such all with all."""
    keeping = [name for name in names if name.startswith(KEEPS)]
    weighing = [name for name in names if name.startswith(WEIGHS)]
    if keeping and weighing:
        return [(first, second) for first in keeping for second in weighing]
    return list(combinations(names, 2))


def _gradient(name: str, gate: Gate, slopes: list[Tensor]) -> GateGradient:
    channel = channel_axis(gate.axes)
    channels = [table(slope.double().cpu(), gate.axes, "o", channel).sum(-1).numpy() for slope in slopes]
    return GateGradient(
        name, CHANNELS.get(channel, ""), np.stack(channels), np.array([float(slope.norm()) for slope in slopes])
    )
