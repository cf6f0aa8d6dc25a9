"""Batch normalisation over processes is batch normalisation of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from memx.engine import processes
from memx.engine.batch_norm import SharedBatchNorm, share_batch_norms


def results(norm: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, gradients of Σ weight · y², and running statistics."""
    x = x.clone().requires_grad_()
    y = norm(x)
    (weight * y.square()).sum().backward()
    assert x.grad is not None
    found = {"y": y.detach(), "x": x.grad} | {name: b.clone() for name, b in norm.named_buffers()}
    return found | {f"grad {name}": p.grad.clone() for name, p in norm.named_parameters() if p.grad is not None}


def made(momentum: float | None) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3, momentum=momentum).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.5, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return norm


def test_two_processes_normalise_by_the_whole_batch(ranked: Callable[..., list[Any]]) -> None:
    """Unequal shares of a batch with a large mean; in float64 to 1e-10."""
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64) + 100
    weight = torch.randn_like(x)
    parts = [slice(0, 2), slice(2, 5)]

    def work(rank: int) -> list[dict[str, torch.Tensor]]:
        processes.join("cpu")
        found = []
        for momentum in (0.1, None):
            model = nn.Sequential(made(momentum))
            before = [id(p) for p in model.parameters()]
            assert share_batch_norms(model, torch.device("cpu"))
            assert isinstance(model[0], SharedBatchNorm)
            assert [id(p) for p in model.parameters()] == before
            assert not share_batch_norms(nn.Sequential(nn.GroupNorm(1, 3)), torch.device("cpu"))
            found.append(results(model[0], x[parts[rank]], weight[parts[rank]]))
            model.eval()
            assert torch.equal(
                model(x),
                nn.functional.batch_norm(
                    x, model[0].running_mean, model[0].running_var, model[0].weight, model[0].bias, eps=model[0].eps
                ),
            )
        processes.leave()
        return found

    shared = ranked(2, work)
    for index, momentum in enumerate((0.1, None)):
        whole = results(made(momentum), x, weight)
        here = [ranked[index] for ranked in shared]
        for name, expected in whole.items():
            if name in ("y", "x"):
                found = torch.cat([part[name] for part in here])
            elif name.startswith("grad"):
                found = here[0][name] + here[1][name]
            else:
                assert torch.equal(here[0][name], here[1][name])
                found = here[0][name]
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")
