"""Whoever is at work is known by name, whatever method it was called by, and afterwards nothing is left."""

from __future__ import annotations

import torch
from torch import nn

from memx.profile.scopes import WHOLE, watching


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def step(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.twice(x)

    def twice(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.idle = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.step(x)


def test_every_change_is_told_in_order() -> None:
    model, changes = Outer(), []
    with watching(model, lambda before, after: changes.append((before, after))) as scopes:
        model(torch.zeros(1, 2))
        assert scopes.current == WHOLE
    assert changes == [
        (WHOLE, "inner"),
        ("inner", "inner.linear"),
        ("inner.linear", "inner"),
        ("inner", WHOLE),
    ]
    assert scopes.visited == {WHOLE, "inner", "inner.linear"}


def test_depth_says_how_far_down_parts_are_told_apart() -> None:
    model, changes = Outer(), []
    with watching(model, lambda before, after: changes.append(after), depth=1):
        model(torch.zeros(1, 2))
    assert changes == ["inner", WHOLE]


def test_nothing_is_left_behind_even_after_an_error() -> None:
    model = Outer()
    before = [set(vars(module)) for module in model.modules()]
    try:
        with watching(model) as scopes:
            model(torch.zeros(1, 3))
    except RuntimeError:
        pass
    assert scopes.current == WHOLE
    assert [set(vars(module)) for module in model.modules()] == before
