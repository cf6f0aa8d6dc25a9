"""A gate that a frame met: what a memory shows of itself to whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

if TYPE_CHECKING:
    from memx.memory.base import Memory


@dataclass(frozen=True)
class Gate:
    """One gate as the write of a frame used it.

    alpha   what the state, or a row or channel of it, is multiplied by before the frame is written
    beta    what weighs the frame: its write, and its erase where there is one
    """

    used: Tensor
    """The tensor of the computation itself, so that gradients can be taken to it: the gate, or its logarithm."""
    axes: str
    """A letter an axis, `b h n`: batch, objects, tokens, heads, key and value channels, rows and columns."""
    low: float = 0.0
    high: float = 1.0
    """The values that the gate can take, bounds included."""
    log: bool = False
    """Whether `used` is the logarithm of the gate."""
    fixed: Bool[Tensor, " b"] | None = None
    """Batch items whose gate is a constant in this frame, whatever the weights are; None: none is."""

    def __post_init__(self) -> None:
        if len(self.axes.split()) != self.used.ndim:
            raise ValueError(f"a gate of shape {list(self.used.shape)} has {self.used.ndim} axes, not {self.axes!r}")
        if self.fixed is not None:
            letters, (items,) = self.axes.split(), self.fixed.shape
            if letters[:1] != ["b"] or len(self.used) != items:
                shape = list(self.used.shape)
                raise ValueError(f"fixed names items of a batch of {items}; the gate is {self.axes!r}, {shape}")

    @property
    def value(self) -> Tensor:
        """The gate itself."""
        return self.used.exp() if self.log else self.used

    def gradient(self, of_used: Tensor) -> Tensor:
        """∂L/∂gate from ∂L/∂used: divided by the gate where a logarithm was used, and 0 where such a gate is 0.

        0 for `fixed` items, too: the loss may well depend on a constant, but no weight can move it.
        """
        if self.fixed is not None:
            of_used = torch.where(self.fixed.reshape(-1, *[1] * (of_used.ndim - 1)), 0.0, of_used)
        if not self.log:
            return of_used
        value = self.value.detach()
        return torch.where(value > 0, of_used / torch.where(value > 0, value, 1.0), 0.0)


Watcher = Callable[[str, Gate], None]


@contextmanager
def watching(memory: Memory, watcher: Watcher) -> Iterator[None]:
    """While this lasts, every gate that a write of `memory` uses is shown to `watcher(name, gate)`, in order.

    Who watched before goes on watching, and is shown each gate first.
    """
    before = memory.watcher

    def both(name: str, gate: Gate) -> None:
        if before is not None:
            before(name, gate)
        watcher(name, gate)

    memory.watcher = both
    try:
        yield
    finally:
        memory.watcher = before
