"""Norms and effective rank against matrices whose singular values are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.inspect.spectrum import effective_rank, principal, spectrum


@given(st.integers(1, 8), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=20)
def test_equal_singular_values_count_in_full(rank: int, size: float) -> None:
    S = torch.zeros(8, 12, dtype=torch.float64)
    S[range(rank), range(rank)] = size
    found = spectrum(S)
    assert float(found.effective_rank) == pytest.approx(rank)
    assert float(found.spectral) == pytest.approx(size)
    assert float(found.frobenius) == pytest.approx(size * math.sqrt(rank))


def test_a_rotation_and_a_factor_do_not_matter() -> None:
    S = torch.randn(3, 6, 9, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    before, after = spectrum(S), spectrum(7 * turn @ S)
    torch.testing.assert_close(after.effective_rank, before.effective_rank)
    torch.testing.assert_close(after.frobenius, 7 * before.frobenius)
    torch.testing.assert_close(before.frobenius, S.flatten(1).norm(dim=1))


def test_the_formula_by_hand() -> None:
    """p = ¾, ¼: exp(¾ ln 4/3 + ¼ ln 4) = 4 / 3^¾."""
    assert float(effective_rank(torch.tensor([3.0, 1.0], dtype=torch.float64))) == pytest.approx(4 / 3**0.75)


def test_an_empty_state_has_rank_0_and_a_broken_one_none() -> None:
    S = torch.zeros(3, 4, 4)
    S[1, 0, 0], S[2, 0, 0] = torch.nan, torch.inf
    found = spectrum(S)
    assert found.effective_rank[0] == found.frobenius[0] == found.spectral[0] == 0
    for figure in (found.effective_rank, found.frobenius, found.spectral):
        assert figure[1:].isnan().all()


def test_the_first_component_of_a_line() -> None:
    """Points along (3, −4) / 5: that direction with its larger entry positive, and all of the variance."""
    line = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None] * torch.tensor([[0.6, -0.8]], dtype=torch.float64)
    component, share = principal((line.mT @ line)[None])
    torch.testing.assert_close(component, torch.tensor([[-0.6, 0.8]], dtype=torch.float64))
    assert float(share) == pytest.approx(1)
    assert float(principal(torch.zeros(1, 2, 2))[1]) == 0
    assert principal(torch.full((1, 2, 2), torch.nan))[1].isnan().all()
