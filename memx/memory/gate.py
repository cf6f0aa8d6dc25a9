"""A gate that a frame met: what a memory shows of itself to whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
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

    def __post_init__(self) -> None:
        if len(self.axes.split()) != self.used.ndim:
            raise ValueError(f"a gate of shape {list(self.used.shape)} has {self.used.ndim} axes, not {self.axes!r}")

    @property
    def value(self) -> Tensor:
        """The gate itself."""
        return self.used.exp() if self.log else self.used

    def gradient(self, of_used: Tensor) -> Tensor:
        """∂L/∂gate from ∂L/∂used: divided by the gate where a logarithm was used, and 0 where such a gate is 0."""
        if not self.log:
            return of_used
        value = self.value.detach()
        return torch.where(value > 0, of_used / torch.where(value > 0, value, 1.0), 0.0)


Watcher = Callable[[str, Gate], None]


@contextmanager
def watching(memory: Memory, watcher: Watcher) -> Iterator[None]:
    """While this lasts, every gate that a write of `memory` uses is shown to `watcher(name, gate)`, in order."""
    before, memory.watcher = memory.watcher, watcher
    try:
        yield
    finally:
        memory.watcher = before
