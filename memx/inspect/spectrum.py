"""How large a state is and how many directions it uses: norms and effective rank of its matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """Figures of a batch of matrices, from their singular values σ_1 ≥ σ_2 ≥ … ≥ 0.

    frobenius        √(Σ σ_i²)
    spectral         σ_1
    effective_rank   exp(−Σ p_i ln p_i), p_i = σ_i / Σ σ
    """

    frobenius: Float[Tensor, "*batch"]
    spectral: Float[Tensor, "*batch"]
    effective_rank: Float[Tensor, "*batch"]


def spectrum(S: Float[Tensor, "*batch k v"]) -> Spectrum:
    """Norms and effective rank of every matrix, in float64; NaN for a matrix that holds a NaN or an infinity."""
    S = S.double()
    finite = torch.isfinite(S).flatten(-2).all(-1)
    values = torch.linalg.svdvals(torch.where(finite[..., None, None], S, 0.0))
    lost = torch.where(finite, 0.0, torch.nan)
    return Spectrum(values.square().sum(-1).sqrt() + lost, values.amax(-1) + lost, effective_rank(values) + lost)


def effective_rank(singular_values: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch"]:
    """exp(−Σ p_i ln p_i) with p_i = σ_i / Σ σ: r for r equal values, 1 for a single one, and 0 for none but zeros.

    Between 1 and the rank, and unlike the rank not moved by values that are nearly zero.
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    total = singular_values.sum(-1, keepdim=True)
    share = singular_values / torch.where(total > 0, total, 1.0)
    entropy = -torch.special.xlogy(share, share).sum(-1)
    return torch.where(total.squeeze(-1) > 0, entropy.exp(), 0.0)


def principal(scatter: Float[Tensor, "o v v"]) -> tuple[Float[Tensor, "o v"], Float[Tensor, " o"]]:
    """The first eigenvector of Σ (r − r̄)(r − r̄)ᵀ, its largest entry positive, and its share of the trace.

    Where there is no scatter at all, the share is 0; NaN throughout for a scatter with a NaN or an infinity.
    """
    finite = torch.isfinite(scatter).flatten(-2).all(-1)
    values, vectors = torch.linalg.eigh(torch.where(finite[..., None, None], scatter, 0.0))
    first = vectors[..., -1]
    largest = first.gather(-1, first.abs().argmax(-1, keepdim=True))
    total = values.clamp(min=0).sum(-1)
    share = torch.where(total > 0, values[..., -1] / torch.where(total > 0, total, 1.0), 0.0)
    lost = torch.where(finite, 0.0, torch.nan)
    return first * largest.sign() + lost.unsqueeze(-1), share + lost
