"""Operations that ONNX does not have, said in operations that it has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch._ops import OperatorBase


def solve_triangular(
    A: Float[Tensor, "*batch n n"],
    B: Float[Tensor, "*batch n c"],
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Float[Tensor, "*batch n c"]:
    """X with A X = B (or X A = B unless `left`) by substitution, row by row, as `torch.linalg.solve_triangular`."""
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    if upper:
        return solve_triangular(A.flip(-1, -2), B.flip(-2), upper=False, unitriangular=unitriangular).flip(-2)
    solved = B[..., :1, :] if unitriangular else B[..., :1, :] / A[..., :1, :1]
    for i in range(1, A.shape[-1]):
        row = B[..., i : i + 1, :] - A[..., i : i + 1, :i] @ solved
        solved = torch.cat([solved, row if unitriangular else row / A[..., i : i + 1, i : i + 1]], dim=-2)
    return solved


def where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`torch.where` for flags in logic; numbers are left to ONNX's own, which runtimes do not have for flags."""
    if yes.dtype != torch.bool or no.dtype != torch.bool:
        return NotImplemented
    return (condition & yes) | (~condition & no)


DECOMPOSED: dict[OperatorBase, Callable[..., Tensor]] = {
    torch.ops.aten.linalg_solve_triangular.default: solve_triangular,
    torch.ops.aten.where.self: where,
}
"""What is put in the place of which operation before a graph becomes ONNX."""
