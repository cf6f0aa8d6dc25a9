"""How the gradients of two gates correlate over training steps, recorded while a copy trains in memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from memx.inspect.clip_gradients import pairs_of, slopes_by_gate
from memx.inspect.correlation import Alike, alike, correlation_matrix
from memx.inspect.gate_series import channel_axis
from memx.inspect.recording import MemoryFrame, NotSteppedError, memory_of, met, recording
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


def check_steps(recipe: Recipe, steps: int) -> None:
    """Raises UserError for fewer than 2 steps, which have no correlation, and for more than the recipe has."""
    if not 2 <= steps <= recipe.train.iterations:
        raise UserError(f"--steps {steps}: must be from 2 to the {recipe.train.iterations} steps of the recipe")


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

    Raises what `check_steps` and training raise, and NotSteppedError for a model that does not call `step` of its
    memory.
    """
    check_steps(recipe, steps)
    quiet: dict[str, Any] = {"validate_every": 0, "checkpoint_every": 0}
    if recipe.train.precision == "fp16":
        quiet["precision"] = "fp32"
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=quiet)})
    with tempfile.TemporaryDirectory(prefix="memx-inspect-") as folder, torch.random.fork_rng():
        trainer = Trainer(recipe, RunFolder(Path(folder)), device=device, pretrained=tensors is None)
        if tensors is not None:
            fill(trainer.model, tensors, source)
        done: list[_StepFigures] = []

        def note(step: Step) -> None:
            if not frames:
                raise NotSteppedError(trainer.model, 0, recipe.data.frames)
            done.append(_figures(step.loss, frames))
            frames.clear()
            on_step(step)
            if step.iteration == steps:
                raise _EnoughStepsError

        trainer.on_step = note
        try:
            with recording(memory_of(trainer.model), gradients=True) as frames:
                trainer.run()
        except _EnoughStepsError:
            pass
        except InterruptedRunError as stop:
            said = f"interrupted after {len(done)} of {steps} steps; nothing was written"
            raise InterruptedRunError(said, status=stop.status) from None
    return _result("fresh" if tensors is None else "trained", done)


class _EnoughStepsError(Exception):
    """Ends a training that has done its steps."""


@dataclass(frozen=True)
class _StepFigures:
    """The gradients of one step, reduced; gates that no frame met are not there."""

    loss: float
    norms: dict[str, float]
    channels: dict[str, np.ndarray]
    pairs: dict[tuple[str, str], Alike]


def _figures(loss: float, frames: Sequence[MemoryFrame]) -> _StepFigures:
    """After the backward pass of a step."""
    slopes = slopes_by_gate(frames, lambda gate: gate.used.grad)
    axes = {name: gate.axes for name, gate in met(frames).items()}
    parts = {name: [part.double() for part in found if part is not None] for name, found in slopes.items()}
    return _StepFigures(
        loss,
        {name: math.sqrt(sum(float(part.square().sum()) for part in found)) for name, found in parts.items()},
        {name: np.sum([_by_channel(part, axes[name]) for part in found], axis=0) for name, found in parts.items()},
        {(a, b): alike(slopes[a], axes[a], slopes[b], axes[b]) for a, b in pairs_of(list(slopes))},
    )


def _result(start: Start, steps: Sequence[_StepFigures]) -> TrainingGradients | None:
    """The steps side by side; NaN at steps whose frames did not meet a gate."""
    sizes = {name: found.size for step in steps for name, found in step.channels.items()}
    pairs = dict.fromkeys(pair for step in steps for pair in step.pairs)
    if not sizes:
        return None
    channels = {
        name: np.stack([step.channels.get(name, np.full(size, np.nan)) for step in steps])
        for name, size in sizes.items()
    }
    none = Alike(np.empty(0), np.empty(0), math.nan, math.nan)
    return TrainingGradients(
        start,
        np.array([step.loss for step in steps]),
        {name: np.array([step.norms.get(name, math.nan) for step in steps]) for name in sizes},
        {pair: np.array([step.pairs.get(pair, none).pearson_all for step in steps]) for pair in pairs},
        {pair: np.array([step.pairs.get(pair, none).cosine_all for step in steps]) for pair in pairs},
        channels,
        correlation_matrix(np.concatenate(list(channels.values()), axis=1)),
    )


def _by_channel(slope: Tensor, axes: str) -> Float[np.ndarray, " c"]:
    """Summed over everything but the channels, and pooled where these are many."""
    letters, channel = axes.split(), channel_axis(axes)
    if channel:
        slope = slope.movedim(letters.index(channel), -1).flatten(0, -2).sum(0)
    else:
        slope = slope.sum().reshape(1)
    groups = np.array_split(slope.cpu().numpy(), min(MOST_CHANNELS, slope.numel()))
    return np.array([group.sum() for group in groups])
