"""How the gradients of two gates correlate over training steps, recorded while a copy trains in memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memx.engine.checkpoint import fill
from memx.engine.run import RunFolder
from memx.engine.train import Step, Trainer
from memx.errors import InterruptedRunError, UserError
from memx.inspect.clip_gradients import pairs_of
from memx.inspect.correlation import alike, correlation_matrix
from memx.inspect.gate_series import channel_axis
from memx.inspect.recording import memory_of
from memx.memory.gate import Gate, watching
from memx.recipe import Recipe

Start = Literal["fresh", "trained"]
MOST_CHANNELS = 64
"""More channels of a gate are pooled into so many groups of neighbours, so that a matrix of them can be read."""


@dataclass(frozen=True)
class TrainingGradients:
    """Gradients to the gates at every step; a step's gate entries are those of all clips and frames of its batch.

    loss       (s)
    norms      per gate, (s) Frobenius norm of ∂L/∂gate
    pearson, cosine
               per pair of gates, (s), between ∂L/∂first and ∂L/∂second at one step
    channels   per gate, (s, c): ∂L/∂gate summed over all axes but the channels (value channels or heads)
    matrix     Pearson's r over the steps between every two columns of all `channels` side by side
    """

    start: Start
    loss: Float[np.ndarray, " s"]
    norms: dict[str, Float[np.ndarray, " s"]]
    pearson: dict[tuple[str, str], Float[np.ndarray, " s"]]
    cosine: dict[tuple[str, str], Float[np.ndarray, " s"]]
    channels: dict[str, Float[np.ndarray, "s c"]]
    matrix: Float[np.ndarray, "c c"]

    def arrays(self) -> dict[str, np.ndarray]:
        """Every figure as a named array."""
        found: dict[str, np.ndarray] = {"training/loss": self.loss, "training/correlation_over_steps": self.matrix}
        for name, norm in self.norms.items():
            found |= {f"training/{name}/norm": norm, f"training/{name}/channels": self.channels[name]}
        for (first, second), values in self.pearson.items():
            place = f"training/{first}·{second}"
            found |= {f"{place}/pearson": values, f"{place}/cosine": self.cosine[first, second]}
        return found


def training_gradients(
    recipe: Recipe,
    steps: int,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    source: str = "",
    device: str = "cpu",
    on_step: Callable[[Step], Any] = lambda step: None,
) -> TrainingGradients | None:
    """Train a copy for `steps` steps as the recipe says and record ∂L/∂gate at each; None where no gate has a gradient.

    Without `tensors` the copy starts as the run did, from fresh weights by the run's seed, and sees the run's batches
    in their order at the run's learning rates: these are the run's own first steps, once more. With `tensors` (of
    `source`) it starts from them; nothing else differs. The copy, and all that training writes, is thrown away.
    Gradients are those of the loss, before clipping. Half precision (fp16) is replaced by fp32, since its gradients
    are scaled.

    Raises UserError for fewer than 2 steps and for more than the recipe has, and what training raises.
    """
    if not 2 <= steps <= recipe.train.iterations:
        raise UserError(f"--steps {steps}: must be from 2 to the {recipe.train.iterations} steps of the recipe")
    quiet: dict[str, Any] = {"validate_every": 0, "checkpoint_every": 0}
    if recipe.train.precision == "fp16":
        quiet["precision"] = "fp32"
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=quiet)})
    with tempfile.TemporaryDirectory(prefix="memx-inspect-") as folder, torch.random.fork_rng():
        trainer = Trainer(recipe, RunFolder(Path(folder)), device=device, pretrained=tensors is None)
        if tensors is not None:
            fill(trainer.model, tensors, source)
        record = _Record()

        def note(step: Step) -> None:
            record.close(step.loss)
            on_step(step)
            if step.iteration == steps:
                raise _EnoughStepsError

        trainer.on_step = note
        try:
            with watching(memory_of(trainer.model), record.add):
                trainer.run()
        except _EnoughStepsError:
            pass
        except InterruptedRunError:
            raise InterruptedRunError(
                f"interrupted after {len(record.loss)} of {steps} steps; nothing was written"
            ) from None
    return record.result("fresh" if tensors is None else "trained")


class _EnoughStepsError(Exception):
    """Ends a training that has done its steps."""


@dataclass
class _Record:
    """The gates of the step at hand, and the figures of the steps before."""

    loss: list[float] = field(default_factory=list)
    met: dict[str, list[Gate]] = field(default_factory=dict)
    norms: dict[str, list[float]] = field(default_factory=dict)
    channels: dict[str, list[np.ndarray]] = field(default_factory=dict)
    pearson: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cosine: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, name: str, gate: Gate) -> None:
        if gate.used.requires_grad:
            gate.used.retain_grad()
            self.met.setdefault(name, []).append(gate)

    def close(self, loss: float) -> None:
        """The backward pass is done: reduce the step's gradients and let its tensors go."""
        self.loss.append(loss)
        slopes = {name: [_slope(gate) for gate in gates] for name, gates in self.met.items()}
        for name, parts in slopes.items():
            self.norms.setdefault(name, []).append(math.sqrt(sum(float(part.square().sum()) for part in parts)))
            self.channels.setdefault(name, []).append(
                sum(
                    (_by_channel(part, gate.axes) for part, gate in zip(parts, self.met[name], strict=True)),
                    np.zeros(()),
                )
            )
        for first, second in pairs_of(list(slopes)):
            axes = self.met[first][0].axes, self.met[second][0].axes
            found = alike(slopes[first], axes[0], slopes[second], axes[1])
            self.pearson.setdefault((first, second), []).append(found.pearson_all)
            self.cosine.setdefault((first, second), []).append(found.cosine_all)
        self.met = {}

    def result(self, start: Start) -> TrainingGradients | None:
        if not self.norms:
            return None
        channels = {name: np.stack(rows) for name, rows in self.channels.items()}
        return TrainingGradients(
            start,
            np.array(self.loss),
            {name: np.array(values) for name, values in self.norms.items()},
            {pair: np.array(values) for pair, values in self.pearson.items()},
            {pair: np.array(values) for pair, values in self.cosine.items()},
            channels,
            correlation_matrix(np.concatenate(list(channels.values()), axis=1)),
        )


def _slope(gate: Gate) -> Tensor:
    """∂L/∂gate; zeros where the loss does not depend on it."""
    grad = gate.used.grad
    return gate.gradient(torch.zeros_like(gate.used) if grad is None else grad).detach().double()


def _by_channel(slope: Tensor, axes: str) -> Float[np.ndarray, " c"]:
    """Summed over everything but the channels, and pooled where these are many."""
    letters, channel = axes.split(), channel_axis(axes)
    if channel:
        slope = slope.movedim(letters.index(channel), -1).flatten(0, -2).sum(0)
    else:
        slope = slope.sum().reshape(1)
    groups = np.array_split(slope.cpu().numpy(), min(MOST_CHANNELS, slope.numel()))
    return np.array([group.sum() for group in groups])
