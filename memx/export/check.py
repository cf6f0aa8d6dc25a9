"""An exported step held to its model: the same clip through both, each with its own state."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memx.errors import UserError
from memx.export.facts import initial_state
from memx.export.step import Leaf, Step
from memx.memory.state import State
from memx.models.base import VideoModel

ROUNDING = 10
"""How many times the model's own rounding error in float32 a difference may be, where that is above the tolerance."""
MOST = 0.05
"""The largest difference that rounding excuses: beyond it a check would pass anything."""


@dataclass(frozen=True)
class Tolerance:
    """The largest differences between an exported step and its model.

    atol   of a mask's probability
    rtol   of a logit or a number of the state, as a share of the largest one in its tensor
    """

    atol: float = 1e-4
    rtol: float = 1e-3


_SMALL = 1e-4
"""A tensor whose numbers are all smaller is held as if the largest were this: they may be rounding alone."""


class ExportedStep(Protocol):
    """A step read back from a file."""

    facts: dict[str, Any]
    engine: str

    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]: ...


class ModelStep:
    """A network of memx as an exported step: what was read back from a file of weights."""

    def __init__(self, model: VideoModel, state: Sequence[Leaf], facts: dict[str, Any]):
        self.facts = facts
        self.engine = f"torch {torch.__version__}"
        self._step = Step(model, tuple(leaf.path for leaf in state))

    @torch.no_grad()
    def __call__(self, frame: np.ndarray, state: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [x.numpy() for x in self._step(torch.from_numpy(frame), *map(torch.from_numpy, state))]


@dataclass(frozen=True)
class Difference:
    """Over all frames the largest difference of the step from the model, and of the model from itself in float64."""

    largest: float = 0.0
    rounding: float = 0.0


@dataclass(frozen=True)
class Agreement:
    """How near an exported step and its model are over a clip.

    masks      of a probability
    logits     of a logit, as a share of the largest logit of the frame
    state      of a number of each tensor of the state, by its name, as a share of its largest number
    spread     largest minus smallest probability in the model's masks
    frames     length of the clip
    batches    how many clips were run at once, one run after another
    engine     what ran the step
    """

    masks: Difference
    logits: Difference
    state: dict[str, Difference]
    spread: float
    frames: int
    batches: tuple[int, ...]
    engine: str


@torch.no_grad()
def hold(
    step: ExportedStep, model: VideoModel, clip: Float[Tensor, "b t c y x"], objects: int, tolerance: Tolerance
) -> Agreement:
    """Run `clip` frame by frame through a step read back from its file, and through the model.

    The step starts from the state that its own description gives. In every frame masks are held to `atol`, logits and
    every tensor of the state to `rtol`, flags and counters exactly. Where rounding moves the model by more than that,
    which a run in float64 tells, it is held to `ROUNDING` times what rounding does: logits are those of float32
    probabilities, of which a network that is sure of itself has few digits left. A step whose batch is open is run with
    the first clip alone, too. Raises UserError where something differs by more or is not finite, naming it and the
    frame.
    """
    batches = (len(clip), 1) if step.facts["batch"] is None and len(clip) > 1 else (len(clip),)
    exact = copy.deepcopy(model).double()
    masks, logits, *state = outputs = _outputs(step, tolerance)
    low, high = math.inf, -math.inf
    for batch in batches:
        for t, frame in enumerate(_in_turns(step, model, exact, clip[:batch], objects)):
            place = f"in frame {t + 1} of a drawn clip, run by {step.engine} in a batch of {batch}"
            for output, (found, wanted, rounded) in zip(outputs, frame, strict=True):
                output.see(found, wanted, rounded, place)
            low, high = min(low, frame[0][1].min().item()), max(high, frame[0][1].max().item())
    return Agreement(
        masks=masks.difference,
        logits=logits.difference,
        state={leaf["name"]: output.difference for leaf, output in zip(step.facts["state"], state, strict=True)},
        spread=high - low,
        frames=clip.shape[1],
        batches=batches,
        engine=step.engine,
    )


class _Output:
    """One of a step's outputs over the frames that were seen; `share`: held by shares of a frame's largest number."""

    def __init__(self, name: str, option: str, limit: float, *, share: bool):
        self.name, self.option, self.limit, self.share = name, option, limit, share
        self.difference = Difference()

    def see(self, found: Tensor, wanted: Tensor, exact: Tensor, place: str) -> None:
        """Raises UserError where `found` is further from `wanted` than may be."""
        found = _without_room(found, wanted)
        if found.shape != wanted.shape:
            shapes = f"of shape {list(found.shape)}, the model's of {list(wanted.shape)}"
            raise UserError(f"{_DISAGREES}: {place}, {self.name}: {shapes}. Nothing was written")
        if not wanted.numel():
            return
        scale = _magnitude(wanted) if self.share else 1.0
        apart, rounded = _apart(found, wanted) / scale, _apart(wanted, exact) / scale
        before = self.difference
        rounding = rounded if before.rounding < rounded < math.inf else before.rounding
        allowed = max(self.limit, min(ROUNDING * rounding, MOST)) if wanted.is_floating_point() else 0.0
        if not apart <= allowed:  # NaN, too
            share = " of the largest number" if self.share else ""
            noise = f", and above {ROUNDING} times what rounding does" if allowed > self.limit else ""
            raise UserError(
                f"{_DISAGREES}: {place}, {self.name} differ by {apart:.1e}{share}, above {self.option} "
                f"{self.limit:g}{noise}. Nothing was written"
            )
        self.difference = Difference(max(before.largest, apart), rounding)


_DISAGREES = "the exported step does not agree with the model"


def _outputs(step: ExportedStep, tolerance: Tolerance) -> list[_Output]:
    names = [f"numbers of the state's {leaf['name']}" for leaf in step.facts["state"]]
    relative = [_Output(name, "--rtol", tolerance.rtol, share=True) for name in ("logits", *names)]
    return [_Output("masks", "--atol", tolerance.atol, share=False), *relative]


def _in_turns(
    step: ExportedStep, model: VideoModel, exact: VideoModel, clip: Tensor, objects: int
) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """For each frame of a clip each output of the step, the model's, and the model's in float64.

    Masks and logits are those of the model as it streams; the state is that of one whose memory was given room.
    """
    size = (clip.shape[-2], clip.shape[-1])
    state = initial_state(step.facts, len(clip))
    own = model.init_state(len(clip), objects, size=size)
    held = model.allocate(own, size)
    apart = not _same(own, held)
    ideal = exact.allocate(exact.init_state(len(clip), objects, size=size), size)
    for frame in clip.unbind(1):
        masks, logits, *state = step(frame.numpy(), state)
        output, own = model.step(frame, own, auxiliary=False)
        held = model.step(frame, held, auxiliary=False)[1] if apart else own
        best, ideal = exact.step(frame.double(), ideal, auxiliary=False)
        found = [torch.from_numpy(x) for x in (masks, logits, *state)]
        wanted = [output.masks, output.logits, *held.tensors().values()]
        yield list(zip(found, wanted, [best.masks, best.logits, *ideal.tensors().values()], strict=True))


def _same(first: State, second: State) -> bool:
    pairs = zip(first.tensors().values(), second.tensors().values(), strict=True)
    return all(x is y or torch.equal(x, y) for x, y in pairs)


def _without_room(x: Tensor, like: Tensor) -> Tensor:
    """`x` without the empty slots at the start of an axis that `like` does not have: a graph cannot leave them out."""
    for axis, more in enumerate(a - b for a, b in zip(x.shape, like.shape, strict=True)):
        if more > 0 and not bool(x.narrow(axis, 0, more).any()):
            x = x.narrow(axis, more, like.shape[axis])
    return x


def _apart(x: Tensor, y: Tensor) -> float:
    """The largest difference; equal infinities do not differ."""
    return torch.where(x == y, 0.0, (x.double() - y.double()).abs()).max().item()


def _magnitude(x: Tensor) -> float:
    """The largest finite magnitude, but at least `_SMALL`; 1 for flags and counters, which are held exactly."""
    if not x.is_floating_point():
        return 1.0
    finite = x[x.isfinite()].abs()
    return max(finite.max().item() if finite.numel() else 0.0, _SMALL)
