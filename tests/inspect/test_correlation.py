"""Correlations of gradients whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memx.inspect.correlation import aligned, alike, correlation_matrix, cosine, pearson

A = torch.tensor([1.0, 2.0, 4.0])


def test_cosine_and_pearson_are_numpys() -> None:
    a, b = torch.randn(50), torch.randn(50)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a.double(), b.double())[0, 1])
    assert cosine(a, b) == pytest.approx(float(a.double() @ b.double() / (a.double().norm() * b.double().norm())))


def test_a_shift_changes_the_cosine_and_not_pearsons_r() -> None:
    assert pearson(A, 3 * A + 5) == pytest.approx(1)
    assert cosine(A, 3 * A + 5) < 0.99
    assert pearson(A, -A) == pytest.approx(-1)


@pytest.mark.parametrize("b", [torch.zeros(3), torch.full((3,), 0.1)])
def test_a_constant_has_no_correlation(b: torch.Tensor) -> None:
    assert math.isnan(pearson(A, b))
    assert math.isnan(pearson(A[:2], A[:2]))


def test_what_only_one_gate_has_is_summed() -> None:
    """(b h k) against (b h n): one number a head of each, whatever the order of the axes."""
    first, second = torch.rand(1, 2, 5), torch.rand(2, 1, 3)
    a, b = aligned(first, "b h k", second, "h b n")
    torch.testing.assert_close(a, first.sum(-1).flatten())
    torch.testing.assert_close(b, second.sum(-1).flatten())


def test_frames_at_which_a_gate_does_nothing_are_left_out() -> None:
    found = alike([0 * A, A, A], "h", [-A, A, 2 * A], "h")
    assert math.isnan(found.pearson[0])
    np.testing.assert_allclose(found.pearson[1:], 1)
    assert found.cosine_all == pytest.approx(float(5 * 0 + (A @ A * 3) / (2**0.5 * A.norm() * 5**0.5 * A.norm())))
    assert math.isnan(alike([0 * A], "h", [A], "h").pearson_all)


def test_the_matrix_is_numpys_and_a_constant_column_has_none() -> None:
    columns = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(correlation_matrix(columns), np.corrcoef(columns.T))
    with_constant = correlation_matrix(np.c_[columns, np.full(20, 0.3)])
    assert np.isnan(with_constant[3]).all()
    np.testing.assert_allclose(with_constant[:3, :3], np.corrcoef(columns.T))
