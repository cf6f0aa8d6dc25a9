"""The inverse of unit lower triangular matrices, by blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_BASE = 16
"""Blocks of this size are inverted by substitution; larger ones from their halves."""


def unit_lower_inverse(A: Float[Tensor, "n c c"]) -> Float[Tensor, "n c c"]:
    """(I + A)⁻¹ of strictly lower triangular matrices A, whose entries on and above the diagonal are not read.

        [I + A₁₁, 0; A₂₁, I + A₂₂]⁻¹ = [T₁, 0; −T₂ A₂₁ T₁, T₂]

    As stable as substitution, unlike the product (I − A)(I + A²)(I + A⁴)…, whose powers may overflow where the
    inverse is small.
    """
    c = A.shape[-1]
    if c <= _BASE or c % 2:
        eye = torch.eye(c, dtype=A.dtype, device=A.device).expand_as(A)
        return torch.linalg.solve_triangular(A, eye, upper=False, unitriangular=True)
    half = c // 2
    blocks = torch.stack([A[:, :half, :half], A[:, half:, half:]], dim=1).flatten(0, 1)
    first, second = unit_lower_inverse(blocks).unflatten(0, (-1, 2)).unbind(1)
    T = A.new_zeros(A.shape)
    T[:, :half, :half], T[:, half:, half:] = first, second
    T[:, half:, :half] = torch.bmm(second, torch.bmm(A[:, half:, :half], first)).neg_()
    return T


def inverse_macs(c: int) -> tuple[int, int]:
    """Multiply-accumulates of one inverse: of the products of blocks, and of the substitutions, c(c² − 1) / 6 each."""
    if c <= _BASE or c % 2:
        return 0, c * (c * c - 1) // 6
    counted, uncounted = inverse_macs(c // 2)
    return 2 * counted + 2 * (c // 2) ** 3, 2 * uncounted
