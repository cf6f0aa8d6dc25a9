"""Watch a model's memory while the model runs: gates, readout and state of every frame, as they were computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from memx.errors import UserError
from memx.memory.base import Memory, Tokens
from memx.memory.gate import Gate, watching
from memx.memory.state import State


@dataclass(frozen=True)
class MemoryFrame:
    """One `Memory.step`. The tensors are those of the computation, with their graph where there is one.

    gates     the gates that the write used, by name
    readout   (b o n v) what the queries recalled
    state     the memory's state after the frame
    grid      (y, x) of the tokens, or None where the model does not say
    """

    gates: dict[str, Gate]
    readout: Float[Tensor, "b o n v"]
    state: State
    grid: tuple[int, int] | None


def memory_of(model: nn.Module) -> Memory:
    """The memory of a model: the first one, outermost. Raises UserError for a model without any."""
    for module in model.modules():
        if isinstance(module, Memory):
            return module
    raise UserError(f"{type(model).__name__} has no memory to inspect: none of its modules is a memx.Memory")


class NotSteppedError(UserError):
    """A model does not call `Memory.step` once a frame, so that there are no frames of the memory to show."""

    def __init__(self, model: nn.Module, steps: int, frames: int):
        super().__init__(
            f"{type(model).__name__} does not call `step` of its memory once a frame, which is what an inspection "
            f"watches: {steps} calls for {frames} frames. A clip that goes through `scan` as a whole is not seen"
        )


def met(frames: Sequence[MemoryFrame]) -> dict[str, Gate]:
    """Every gate that any of the frames met, by name: the first of each, which says its axes and its range."""
    found: dict[str, Gate] = {}
    for frame in frames:
        for name, gate in frame.gates.items():
            found.setdefault(name, gate)
    return found


@contextmanager
def recording(memory: Memory, *, gradients: bool = False) -> Iterator[list[MemoryFrame]]:
    """While this lasts, every `memory.step` appends a MemoryFrame; what is computed is not changed.

    With `gradients`, a backward pass leaves ∂L/∂used in `gate.used.grad`. Whoever reads the list may clear it, so that
    a long clip is recorded in constant memory. Recordings may be nested: each sees every step.
    """
    frames: list[MemoryFrame] = []
    plain, before = memory.step, memory.__dict__.get("step")

    def step(state: State, frame: Tokens) -> tuple[Float[Tensor, "b o n v"], State]:
        gates: dict[str, Gate] = {}

        def note(name: str, gate: Gate) -> None:
            gates[name] = gate
            if gradients and gate.used.requires_grad:
                gate.used.retain_grad()

        with watching(memory, note):
            readout, after = plain(state, frame)
        frames.append(MemoryFrame(gates, readout, after, frame.size))
        return readout, after

    memory.__dict__["step"] = step  # this instance's own, in front of its class's
    try:
        yield frames
    finally:
        if before is None:
            del memory.__dict__["step"]
        else:
            memory.__dict__["step"] = before
