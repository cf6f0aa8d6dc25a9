"""Deterministic operators: asked for, named where there are none, and as before afterwards."""

from __future__ import annotations

import os

import pytest
import torch

from memx.engine.determinism import deterministic
from memx.errors import UserError


def test_all_is_as_it_was_afterwards() -> None:
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    ) == before
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_an_operator_without_a_deterministic_form_is_named() -> None:
    values, places = torch.zeros(3), torch.tensor([0, 0])
    with (
        pytest.raises(UserError, match=r"train\.deterministic=true: put_ has no .* train\.deterministic=false"),
        deterministic(True),
    ):
        values.put_(places, torch.ones(2))
    with pytest.raises(RuntimeError, match="another"), deterministic(True):
        raise RuntimeError("another")
