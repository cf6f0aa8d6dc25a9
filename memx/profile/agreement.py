"""Whether implementations of the gated delta rule agree: held to our recurrent form in float64 before any is timed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memx.profile.ops_cases import Problem
from memx.profile.peers import Rule, peers

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}
"""The largest error, relative to the largest entry of a result, by the dtype of the inputs."""

ORACLE_TOKENS, ORACLE_CLIPS, ORACLE_HEADS = 512, 2, 2
"""How much of a problem the oracle itself is given: it keeps the state of every token for its backward pass."""

RESULTS = ("out", "state", "dq", "dk", "dv", "dlog_decay", "dbeta", "dinitial_state")


@dataclass(frozen=True)
class Agreement:
    """How far an implementation is from the reference."""

    errors: dict[str, float]
    """By result: the largest error beside the largest entry of the reference; infinite where a result is not finite."""
    tolerance: float

    @property
    def worst(self) -> str:
        return max(self.errors, key=self.errors.__getitem__)

    @property
    def holds(self) -> bool:
        return all(error <= self.tolerance for error in self.errors.values())

    def __str__(self) -> str:
        return f"{self.worst} is off by {self.errors[self.worst]:.2g} of its largest entry; allowed: {self.tolerance:g}"


def forward(rule: Rule, problem: Problem) -> tuple[Tensor, Tensor]:
    """Output and final state."""
    p = problem
    return rule(p.q, p.k, p.v, p.log_decay, p.beta, p.initial_state, p.scale)


def forward_backward(rule: Rule, problem: Problem, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Output, final state, and the gradients to q, k, v, log_decay, beta and the initial state."""
    q, k, v, log_decay, beta, initial_state = leaves
    out, state = rule(q, k, v, log_decay, beta, initial_state, problem.scale)
    wanted = (problem.out_gradient.to(out.dtype), problem.state_gradient.to(state.dtype))
    return (out, state, *torch.autograd.grad((out, state), leaves, wanted))


def results(rule: Rule, problem: Problem, *, gradients: bool) -> dict[str, Tensor]:
    """Every result by name."""
    if gradients:
        values = forward_backward(rule, problem, problem.leaves())
    else:
        with torch.no_grad():
            values = forward(rule, problem)
    return {name: x.detach() for name, x in zip(RESULTS, values, strict=False)}


def compare(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> Agreement:
    """Compare the results that both have. Raises ValueError where they have none in common."""
    shared = [name for name in want if name in got]
    if not shared:
        raise ValueError("compare: there is no result that both have")
    return Agreement({name: _error(got[name], want[name]) for name in shared}, tolerance)


def reference(problem: Problem, *, gradients: bool) -> tuple[dict[str, Tensor], Agreement]:
    """What every implementation is held to: our chunk form in float64, itself held to our recurrent form.

    The recurrent form gets the first 512 tokens of 2 clips and 2 heads, with every gradient: at full length it would
    keep gigabytes of states. Both forms run in float64, so the allowance between them is that of float64.
    """
    forms = peers()
    chunk, recurrent = forms["memx_chunk"].rule, forms["memx_recurrent"].rule
    wide = problem.to(torch.float64)
    part = wide.part(ORACLE_CLIPS, ORACLE_TOKENS, ORACLE_HEADS)
    held = compare(
        results(chunk, part, gradients=gradients),
        results(recurrent, part, gradients=gradients),
        TOLERANCE[torch.float64],
    )
    return results(chunk, wide, gradients=gradients), held


def _error(got: Tensor, want: Tensor) -> float:
    if got.shape != want.shape or not torch.isfinite(got).all():
        return float("inf")
    largest = want.abs().max().item()
    error = (got.double() - want.double()).abs().max().item()
    return error / largest if largest else (0.0 if error == 0 else float("inf"))
