"""Decays from unbounded parameters, and what they do over the tokens of a frame."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

DecayPer = Annotated[
    Literal["frame", "token"],
    Field(description="decay once a frame, by the mean over its tokens in log space, or before each token by its own"),
]


def decay_rate(A_log: Float[Tensor, "*axes"], dtype: torch.dtype) -> Float[Tensor, "*axes"]:
    """exp(A_log) in `dtype`, at most the root of the largest number: A_log beyond 44 in float32 counts as 44.

    A rate of infinity would give 0 · ∞ = NaN where a step or a gradient is 0, and so would one whose products
    overflow. The decay exp(−rate · step) is 0 at that largest rate (10¹⁹) already for every step above 10⁻¹⁷.
    """
    return A_log.to(dtype).clamp(max=math.log(torch.finfo(dtype).max) / 2).exp()


def step_size(logit: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """softplus, at most the largest number."""
    return F.softplus(logit).clamp(max=torch.finfo(logit.dtype).max)


def log_decay_of(A_log: Float[Tensor, "*rates"], step: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """−exp(A_log) ⊙ step, at most 0."""
    return -decay_rate(A_log, step.dtype) * step


def initial_rates(*shape: int) -> Float[Tensor, "*shape"]:
    """A_log for rates drawn from 1 to 16, as Mamba-2 and gated DeltaNet draw them."""
    return torch.empty(*shape).uniform_(1, 16).log()


def initial_steps(*shape: int, low: float = 1e-3, high: float = 1e-1) -> Float[Tensor, "*shape"]:
    """Biases whose softplus is log-uniform from `low` to `high`, as in Mamba."""
    step = torch.empty(*shape).uniform_(math.log(low), math.log(high)).exp()
    return step + torch.log(-torch.expm1(-step))


def over_the_frame(
    log_decay: Float[Tensor, "b h n *k"],
) -> tuple[Float[Tensor, "b h *k"], Float[Tensor, "b h n *k"]]:
    """Log-decays summed over all tokens of the frame, and for each token over the tokens after it.

    Each is summed as such, from the last token back, and not as a difference of running sums: so a −10⁴ costs the
    others no precision, and −∞ is an exact 0 for those before it.
    """
    from_here = log_decay.flip(2).cumsum(2).flip(2)
    later = torch.cat([from_here[:, :, 1:], torch.zeros_like(from_here[:, :, :1])], dim=2)
    return from_here[:, :, 0], later


def pooled(log_decay: Float[Tensor, "b h n *k"], per: DecayPer) -> Float[Tensor, "b h *nk"]:
    """Log-decays of a frame: its tokens' own, or once their mean."""
    return log_decay.mean(2) if per == "frame" else log_decay


def as_met(log_decay: Float[Tensor, "b h *nk"], per: DecayPer, tokens: int) -> Float[Tensor, "b h n *k"]:
    """Pooled log-decays as `tokens` meet them: their own, or the frame's before its first token and none after."""
    if per == "token":
        return log_decay
    none = log_decay.new_zeros(*log_decay.shape[:2], tokens - 1, *log_decay.shape[2:])
    return torch.cat([log_decay.unsqueeze(2), none], dim=2)
