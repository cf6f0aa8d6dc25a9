"""The description of a step says the state before the first frame, whatever numbers it was given."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

import memx
from memx.errors import UserError
from memx.export.facts import describe, initial_state
from memx.export.step import Leaf

INF = float("inf")


def described(initial: Tensor) -> dict[str, object]:
    leaf = Leaf("memory/m", initial, None)
    return describe(memx.Recipe.load("gdkvm_phantom"), [leaf], size=(16, 16), batch=None, objects=1)


@pytest.mark.parametrize(
    "initial",
    [
        torch.zeros(1, 2),
        torch.full((1, 2), -INF),
        torch.tensor([[0.1, -INF]]),
        torch.tensor([[[INF, 1e-30], [-3.4e38, -INF]]]),
        torch.tensor([[True, False]]),
        torch.tensor([[3, -1]]),
    ],
    ids=str,
)
def test_json_brings_back_the_state_before_the_first_frame(initial: Tensor) -> None:
    facts = json.loads(json.dumps(described(initial), allow_nan=False))
    (found,) = initial_state(facts, 3)
    assert found.dtype == initial.numpy().dtype
    np.testing.assert_array_equal(found, np.concatenate([initial.numpy()] * 3))


def test_a_state_that_begins_with_nan_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"begins with NaN in memory\.m"):
        described(torch.tensor([[0.0, float("nan")]]))
