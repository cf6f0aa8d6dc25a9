"""What a scan gives, gradients included, and how two outcomes are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from memx.memory.base import Memory, Tokens
from memx.memory.laws.case import BrokenLawError, Case
from memx.memory.state import State

TOLERANCE = 1e-8
"""Of float64 results that should be the same, relative to the largest entry (or to 1)."""

Run = Callable[[Tokens, State], tuple[Tensor, State]]


def all_forms(memory: Memory) -> list[str]:
    """The forms of a memory, the recurrent one first."""
    return list(dict.fromkeys(("recurrent", *memory.forms)))


def scan(memory: Memory, form: str) -> Run:
    """`memory.scan` in one form, of a clip and a state."""
    return lambda clip, state: memory.scan(clip, state, form=form)


def leaf(x: Tensor) -> Tensor:
    """A copy that gradients are taken to."""
    return x.detach().clone().requires_grad_(x.is_floating_point())


def tensors_of(clip: Tokens) -> dict[str, Tensor]:
    """The floating-point tensors of a clip by name."""
    named = {"key": clip.key, "query": clip.query, "value": clip.value, "feature": clip.feature}
    return {name: x for name, x in named.items() if x is not None}


def outcome(run: Run, memory: Memory, clip: Tokens, state: State) -> dict[str, Tensor]:
    """Readouts, final state, and the gradients to tokens, parameters and initial state, by name."""
    clip, state = clip.map(leaf), state.map(leaf)
    out, final = run(clip, state)
    results = {"readouts": out} | {f"final state {k}": x for k, x in final.tensors().items() if x.is_floating_point()}
    inputs = {f"gradient to {k}": x for k, x in tensors_of(clip).items()}
    inputs |= {f"gradient to parameter {k}": x for k, x in memory.named_parameters()}
    inputs |= {f"gradient to initial state {k}": x for k, x in state.tensors().items() if x.is_floating_point()}
    total, leaves = _objective(results), list(inputs.values())
    used = total.requires_grad
    gradients = torch.autograd.grad(total, leaves, allow_unused=True) if used else [None] * len(leaves)
    for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
        results[name] = torch.zeros_like(x) if gradient is None else gradient
    return {name: x.detach() for name, x in results.items()}


def _objective(results: dict[str, Tensor]) -> Tensor:
    """A fixed linear functional of the results, so that a gradient has no say of its own."""
    total = torch.zeros((), dtype=torch.float64)
    for place, x in enumerate(results.values()):
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        total = total + (x.double() * weights).sum()
    return total


def compare(
    got: dict[str, Tensor], want: dict[str, Tensor], what: str, case: Case, tolerance: float = TOLERANCE
) -> None:
    """Hold `got` against `want` name by name, relative to the largest entry or to 1, whichever is larger.

    Raises BrokenLawError, for a name that only one of the two has, too.
    """
    if more := [name for name in got if name not in want]:
        raise BrokenLawError(f"{what}: there is {', '.join(more)}, which there should not be", case)
    for name, expected in want.items():
        if name not in got:
            raise BrokenLawError(f"{what}: there is no {name}", case)
        actual = got[name]
        if actual.shape != expected.shape:
            raise BrokenLawError(f"{what}: {name} of shape {tuple(actual.shape)}, not {tuple(expected.shape)}", case)
        if not expected.numel():
            continue
        if not torch.isfinite(expected).all():
            raise BrokenLawError(f"{what}: {name} not finite to begin with", case)
        error = (actual.double() - expected.double()).abs().max().item()
        largest = expected.double().abs().max().item()
        allowed = tolerance * max(1.0, largest)
        if error <= allowed:
            continue
        if not torch.isfinite(actual).all():
            raise BrokenLawError(f"{what}: {name} not finite", case)
        figures = f"off by {error:.3g} (right values reach {largest:.3g}, allowed {allowed:.1g})"
        raise BrokenLawError(f"{what}: {name} {figures}", case)
