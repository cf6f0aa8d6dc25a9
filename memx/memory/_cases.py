"""Drawn cases for the laws of memory/laws.py, and how two outcomes are compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from memx.memory.base import Memory, Tokens, fold
from memx.memory.state import State
from memx.registry import build_part

Factory = Callable[..., Any]
TOLERANCE = 1e-8


class BrokenLawError(AssertionError):
    """A law does not hold; the message has the case and the figures."""


class NotApplicableError(Exception):
    """The law says nothing about this memory; the message says why."""


@dataclass(frozen=True)
class Case:
    """One drawn case: the sizes, where resets fall, and the seed that makes the numbers."""

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
    resets: bool = False
    """Draw resets, each frame and item with probability 1/3."""
    seed: int = 0

    def memory(self, factory: Factory, dtype: torch.dtype = torch.float64) -> Memory:
        """The memory with its parameters moved a little from where they are initialised."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            facts = {"key_dim": self.key_dim, "value_dim": self.value_dim, "feature_dim": self.feature_dim}
            memory = build_part(factory, **facts)
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
        reset = torch.rand(b, t, generator=generator) < 1 / 3 if self.resets else None
        return Tokens(key, query, value, feature, reset, self.grid)

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


def all_forms(memory: Memory) -> list[str]:
    """The forms of a memory, the recurrent one first."""
    return list(dict.fromkeys(("recurrent", *memory.forms)))


def differing_axis(one: Tensor, other: Tensor) -> int | None:
    """The axis along which two tensors of the same rank differ in size; None where there is none."""
    axes = [axis for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b]
    return axes[0] if axes else None


def permuted(state: State, axes: dict[str, int | None], order: Tensor) -> State:
    """The state with each tensor reordered along its axis, if it has one."""
    flat = state.tensors()
    return State.from_tensors(
        {name: x if (axis := axes[name]) is None else x.index_select(axis, order) for name, x in flat.items()}
    )


def leaf(x: Tensor) -> Tensor:
    """A copy that gradients are taken to."""
    return x.detach().clone().requires_grad_(x.is_floating_point())


def tensors_of(clip: Tokens) -> dict[str, Tensor]:
    """The floating-point tensors of a clip by name."""
    named = {"key": clip.key, "query": clip.query, "value": clip.value, "feature": clip.feature}
    return {name: x for name, x in named.items() if x is not None}


def objective(results: dict[str, Tensor]) -> Tensor:
    """A fixed linear functional of the results, so that a gradient has no say of its own."""
    total = torch.zeros((), dtype=torch.float64)
    for place, x in enumerate(results.values()):
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        total = total + (x.double() * weights).sum()
    return total


def outcome(
    run: Callable[[Tokens, State], tuple[Tensor, State]], memory: Memory, clip: Tokens, state: State
) -> dict[str, Tensor]:
    """Readouts, final state, and the gradients to tokens, parameters and initial state, by name."""
    clip, state = clip.map(leaf), state.map(leaf)
    out, final = run(clip, state)
    results = {"readouts": out} | {f"final state {k}": x for k, x in final.tensors().items() if x.is_floating_point()}
    inputs = {f"gradient to {k}": x for k, x in tensors_of(clip).items()}
    inputs |= {f"gradient to parameter {k}": x for k, x in memory.named_parameters()}
    inputs |= {f"gradient to initial state {k}": x for k, x in state.tensors().items() if x.is_floating_point()}
    total = objective(results)
    if total.requires_grad:
        gradients = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
        for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
            results[name] = torch.zeros_like(x) if gradient is None else gradient
    return {name: x.detach() for name, x in results.items()}


def compare(got: dict[str, Tensor], want: dict[str, Tensor], what: str, case: Case, tolerance: float) -> None:
    """Hold `got` against `want` name by name, relative to the largest entry or to 1, whichever is larger.

    Raises BrokenLawError.
    """
    for name, expected in want.items():
        actual = got[name]
        if actual.shape != expected.shape:
            raise BrokenLawError(f"{what}: {name} has shape {tuple(actual.shape)}, not {tuple(expected.shape)}; {case}")
        if not expected.numel():
            continue
        if not torch.isfinite(expected).all():
            raise BrokenLawError(f"{what}: {name} is not finite to begin with; {case}")
        error = (actual.double() - expected.double()).abs().max().item()
        size = max(1.0, expected.double().abs().max().item())
        if not error <= tolerance * size:
            raise BrokenLawError(f"{what}: {name} differs by {error:.3g} (largest entry {size:.3g}); {case}")
