"""The case that a law is held in: sizes, resets and the seed that makes the numbers; and how a law answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from memx.memory.base import Memory, Tokens, fold
from memx.memory.state import State
from memx.registry import build_part

Factory = Callable[..., Any]
"""What builds a memory from `key_dim`, `value_dim`, `feature_dim`: a class, a functools.partial, a registry Part."""


class NotApplicableError(Exception):
    """The law says nothing about this memory; the message says why."""


class BrokenLawError(AssertionError):
    """A law does not hold: `says` has the form and the figures, `case` is where."""

    def __init__(self, says: str, case: Case):
        super().__init__(f"{says}; {case}")
        self.says, self.case = says, case


@dataclass(frozen=True, repr=False)
class Case:
    """One case: the sizes, where resets fall, and the seed that makes the numbers."""

    batch: int = 2
    frames: int = 3
    objects: int = 2
    tokens: int = 3
    key_dim: int = 4
    value_dim: int = 8
    feature_dim: int = 5
    split: int = 1
    """Frames before the cut, for laws about a part of a clip."""
    warm: bool = True
    """Start from a state that has seen a frame, not from an empty one."""
    resets: bool | tuple[tuple[int, int], ...] = False
    """(item, frame) of every reset; those outside the clip have no effect. True draws each with probability 1/3."""
    seed: int = 0

    def __repr__(self) -> str:
        """As Python that makes it: the fields that are not at their default."""
        changed = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Case({', '.join(changed)})"

    def memory(self, factory: Factory, dtype: torch.dtype = torch.float64) -> Memory:
        """The memory with its parameters moved a little from where they are initialised.

        Raises TypeError for what is no Memory, and what the factory raises.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            facts = {"key_dim": self.key_dim, "value_dim": self.value_dim, "feature_dim": self.feature_dim}
            memory = build_part(factory, **facts)
            if not isinstance(memory, Memory):
                raise TypeError(f"it builds a {type(memory).__name__}, which is no memx.Memory")
            with torch.no_grad():
                for parameter in memory.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return memory.to(dtype)

    def clip(self, dtype: torch.dtype = torch.float64, *, frames: int | None = None, salt: int = 0) -> Tokens:
        """Normal tokens of the case; another `salt` gives others."""
        generator = torch.Generator().manual_seed(7919 * self.seed + salt)
        b, t, n = self.batch, self.frames if frames is None else frames, self.tokens

        def draw(*shape: int) -> Tensor:
            return (0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)

        key, query = draw(b, t, n, self.key_dim), draw(b, t, n, self.key_dim)
        value, feature = draw(b, t, self.objects, n, self.value_dim), draw(b, t, n, self.feature_dim)
        return Tokens(key, query, value, feature, self._reset(t, generator), self.grid)

    def _reset(self, frames: int, generator: torch.Generator) -> Tensor | None:
        if not self.resets:
            return None
        if self.resets is True:
            return torch.rand(self.batch, frames, generator=generator) < 1 / 3
        reset = torch.zeros(self.batch, frames, dtype=torch.bool)
        for item, frame in self.resets:
            if item < self.batch and frame < frames:
                reset[item, frame] = True
        return reset

    @property
    def grid(self) -> tuple[int, int]:
        """(y, x) of the tokens: as near to a square as their number allows."""
        rows = next(y for y in range(math.isqrt(self.tokens), 0, -1) if self.tokens % y == 0)
        return rows, self.tokens // rows

    def state(self, memory: Memory, dtype: torch.dtype = torch.float64) -> State:
        """The state that the case starts from: empty, or after one frame of other tokens."""
        state = memory.init_state(self.batch, self.objects, dtype=dtype)
        if not self.warm:
            return state
        return fold(memory, replace(self, resets=False).clip(dtype, frames=1, salt=1), state)[1].detach()
