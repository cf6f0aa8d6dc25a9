"""Rates of decay from unbounded parameters."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def decay_rate(A_log: Float[Tensor, "*axes"], dtype: torch.dtype) -> Float[Tensor, "*axes"]:
    """exp(A_log) in `dtype`, at most the root of the largest number: A_log beyond 44 in float32 counts as 44.

    A rate of infinity would give 0 · ∞ = NaN where a step or a gradient is 0, and so would one whose products
    overflow. The decay exp(−rate · step) is 0 at that largest rate (10¹⁹) already for every step above 10⁻¹⁷.
    """
    return A_log.to(dtype).clamp(max=math.log(torch.finfo(dtype).max) / 2).exp()
