"""What stands in for operations that ONNX lacks equals them."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from memx.export.operations import solve_triangular, where
from memx.ops.frame import gram


@settings(deadline=None, max_examples=30)
@given(
    size=st.integers(1, 7),
    columns=st.integers(1, 4),
    batch=st.integers(1, 3),
    upper=st.booleans(),
    left=st.booleans(),
    unitriangular=st.booleans(),
)
def test_substitution_is_the_triangular_solve(
    size: int, columns: int, batch: int, upper: bool, left: bool, unitriangular: bool
) -> None:
    """Also where the other triangle, which may not be read, and a unit diagonal hold anything."""
    A = torch.rand(batch, size, size, dtype=torch.float64) + 2 * torch.eye(size, dtype=torch.float64)
    shape = (batch, size, columns) if left else (batch, columns, size)
    B = torch.randn(shape, dtype=torch.float64)
    kind = {"upper": upper, "left": left, "unitriangular": unitriangular}
    torch.testing.assert_close(solve_triangular(A, B, **kind), torch.linalg.solve_triangular(A, B, **kind))


def test_where_chooses_flags_and_leaves_numbers() -> None:
    condition, yes, no = (torch.tensor(x, dtype=torch.bool) for x in ([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0]))
    assert torch.equal(where(condition, yes, no), torch.where(condition, yes, no))
    assert where(condition, yes.float(), no.float()) is NotImplemented


class Gram(nn.Module):
    def forward(self, k: torch.Tensor) -> torch.Tensor:
        return gram(k, normalize="spectral")


def test_a_graph_divides_by_the_largest_eigenvalue() -> None:
    """To 1e-6 at any scale, also where eigenvalues are equal (orthonormal keys); an all-zero G stays zero."""
    graph = torch.export.export(Gram(), (torch.randn(4, 12, 6),), strict=False).module()
    for scale in (1e-3, 1.0, 1e3):
        k = scale * torch.randn(4, 12, 6)
        k[1] = scale * torch.eye(12, 6)
        k[2] = 0
        torch.testing.assert_close(graph(k), gram(k, normalize="spectral"), atol=3e-6, rtol=0, msg=f"scale {scale}")
