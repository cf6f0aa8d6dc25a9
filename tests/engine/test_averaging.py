"""The moving average of weights is its formula, and goes on where it was."""

from __future__ import annotations

import torch
from torch import nn

from memx.engine.averaging import Average


def test_it_is_the_formula_and_buffers_are_copied() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).double()
    average = Average(model, 0.3)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    for n in range(6):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        model(torch.randn(3, 1, 4, 4).double())
        average.update(model)
        decay = min(0.3, (1 + n) / (10 + n))
        for name, p in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
    for name, p in average.model.named_parameters():
        torch.testing.assert_close(p, expected[name], rtol=1e-12, atol=1e-12)
        assert not p.requires_grad
    for own, theirs in zip(average.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(own, theirs)
    assert not average.model.training
    assert model.training


def test_the_warm_up_ends_where_the_decay_is_reached() -> None:
    """With decay 0.999, one of 8,990 updates is the first that is not faster."""
    average = Average(nn.Linear(1, 1), 0.999)
    moved = []
    for updates in (0, 8980, 8990):
        average.updates = updates
        nn.init.zeros_(average.model.weight)
        one = nn.Linear(1, 1)
        nn.init.ones_(one.weight)
        average.update(one)
        moved.append(average.model.weight.item())
    assert moved[0] > moved[1] > moved[2]
    torch.testing.assert_close(torch.tensor(moved), torch.tensor([0.9, 9 / 8990, 0.001]), rtol=1e-4, atol=0)


def test_it_is_restored_to_the_bit() -> None:
    model = nn.Linear(3, 3)
    first, second = Average(model, 0.9), Average(model, 0.9)
    nn.init.normal_(model.weight)
    first.update(model)
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update(model)
    assert torch.equal(first.model.weight, second.model.weight)
    assert first.updates == second.updates == 2
