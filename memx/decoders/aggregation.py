"""From one independent probability an object to one distribution over background and objects."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def soft_aggregate(probability: Float[Tensor, "b o *rest"]) -> Float[Tensor, "b o1 *rest"]:
    """Logits over background and objects, whose softmax is the aggregated distribution.

    p̃ = [Π_i (1 − p_i), p_1 … p_o] clamped to [1e-7, 1 − 1e-7];  logits = log(p̃ / (1 − p̃)).

    Index 0 is the background. Computed at least in float32.

    Source: Oh et al., RGMP, CVPR 2018, as STM and its successors use it.
    """
    if probability.dtype not in (torch.float32, torch.float64):
        probability = probability.float()
    background = (1 - probability).prod(dim=1, keepdim=True)
    return torch.cat([background, probability], dim=1).clamp(1e-7, 1 - 1e-7).logit()
