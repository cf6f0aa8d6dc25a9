"""Counted is what a hand counts: products, attention, elementwise updates of a state, solves."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from memx.memory.base import Shape
from memx.models.build import build
from memx.profile.arithmetic import Tally, counting
from memx.profile.components import Component, UncountedError, count
from memx.profile.counters import by_fvcore, by_torch
from memx.recipe import Recipe
from memx.registry import memories

B, H, N, D = 2, 3, 5, 7


class Work(nn.Module):
    """One function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def tally(function, *inputs) -> Tally:
    with torch.no_grad():
        return count(Work(function), lambda: function(*inputs)).whole


def test_attention_by_hand() -> None:
    """q kᵀ and p v, n² d each a head; scaling both sides, and a softmax of five operations an entry."""
    q, k, v = torch.rand(3, B, H, N, D)
    found = tally(functional.scaled_dot_product_attention, q, k, v)
    assert found.macs.total() == B * H * 2 * N * N * D
    assert found.pointwise["_safe_softmax"] == 5 * B * H * N * N
    assert found.pointwise["mul"] == 2 * B * H * N * D
    assert found.flops == 2 * found.macs.total() + found.pointwise.total()


def test_einsum_by_hand() -> None:
    a, b = torch.rand(B, N, D), torch.rand(B, D, H)
    assert tally(lambda x, y: torch.einsum("bnd,bdh->bnh", x, y), a, b).macs.total() == B * N * D * H


def test_an_elementwise_state_update_by_hand() -> None:
    """S ← α S + β k vᵀ: three multiplications and an addition an entry, and no product of matrices."""
    S, alpha, beta = torch.rand(B, N, D), torch.rand(B, N, 1), torch.rand(B, 1, 1)
    k, v = torch.rand(B, N, 1), torch.rand(B, 1, D)
    found = tally(lambda: alpha * S + beta * (k * v))
    assert found.macs.total() == 0
    assert found.pointwise == {"mul": 3 * B * N * D, "add": B * N * D}


def test_convolution_norm_and_pooling_by_hand() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    with torch.no_grad():
        found = count(layers.eval(), lambda: layers(torch.rand(B, 3, 6, 10)))
    conv, norm, relu, pool = found.parts
    assert (conv.whole.macs.total(), conv.parameters) == (B * 60 * 8 * 3 * 9, 8 * 3 * 9)
    assert norm.whole.pointwise.total() == 2 * B * 8 * 60
    assert relu.whole.pointwise.total() == B * 8 * 60
    assert pool.whole.pointwise.total() == B * 8 * 15 * 4
    assert found.whole.macs.total() == conv.whole.macs.total()


def test_a_solve_by_hand() -> None:
    A, right = torch.rand(B, N, N).tril(-1), torch.rand(B, N, D)
    found = tally(lambda: torch.linalg.solve_triangular(A, right, upper=False, unitriangular=True))
    assert found.macs.total() == B * D * N * (N - 1) // 2


def test_what_has_no_rule_is_refused_by_name() -> None:
    with pytest.raises(UncountedError, match=r"no rule says what these operators calculate: .*lgamma in the model"):
        tally(torch.lgamma, torch.rand(3))


def test_a_component_that_works_and_counts_nothing_is_refused() -> None:
    class Copies(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x.clone()

    model = nn.Sequential(nn.Linear(2, 2), Copies())
    with pytest.raises(UncountedError, match=r"1 \(Copies\) was at work and nothing was counted"):
        count(model, lambda: model(torch.rand(1, 2)))


@pytest.mark.parametrize("name", memories.names())
def test_every_memory_in_a_network_counts_what_it_declares(name: str) -> None:
    """Of a streamed frame: products and projections, as its `cost` has them; the whole by torch's counter, too."""
    recipe = Recipe.load("gdkvm_phantom", ["data.size=32", f"model.memory={name}", "model.refiner=null"])
    model = build(recipe).eval()
    frame = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        state = model.step(frame, model.init_state())[1]
    found = count(model, lambda: model.step(frame, state))
    memory = next(part for part in found.parts if part.path == "memory")
    one, two = (model.memory.cost(Shape(frames=frames, tokens=4)) for frames in (1, 2))
    solves = sum(macs for operator, macs in memory.whole.macs.items() if "linalg" in operator)
    assert memory.whole.macs.total() - solves == two.macs - one.macs
    assert bool(solves) == bool(two.uncounted_macs)
    elsewhere = found.whole.macs.total() - solves
    assert by_torch(model, frame, state).macs == elsewhere


def test_the_tree_adds_up_and_tells_who_did_not_work() -> None:
    recipe = Recipe.load("gdkvm_phantom", ["data.size=32"])
    model = build(recipe).eval()
    frame = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        state = model.step(frame, model.init_state())[1]
    found = count(model, lambda: model.step(frame, state))

    def check(component: Component) -> None:
        for kind in ("macs", "pointwise"):
            below = sum(getattr(part.whole, kind).total() for part in component.parts)
            assert getattr(component.whole, kind).total() == below + getattr(component.own, kind).total()
        for part in component.parts:
            check(part)

    check(found)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert [part.path for part in found.parts if not part.ran] == ["sensory_head"], "it is for training only"
    counted, fused = found.whole.macs.total(), by_torch(model, frame, state)
    assert fused.macs < counted
    assert "fused attention as 0" in fused.says
    assert by_fvcore(model, frame, state).macs == pytest.approx(counted, rel=0.01)


def test_a_clip_is_its_frames() -> None:
    """Nothing is done between frames; the first one, which meets an empty memory, costs no more."""
    recipe = Recipe.load("gdkvm_phantom", ["data.size=32", "model.memory=linear"])
    model = build(recipe).eval()
    video = torch.rand(1, 3, 1, 32, 32)
    clip = count(model, lambda: model(video)).whole.macs.total()
    state, frames = model.init_state(), 0
    with torch.no_grad():
        for t in range(3):
            frames += count(model, lambda: model.step(video[:, t], state)).whole.macs.total()  # noqa: B023
            state = model.step(video[:, t], state)[1]
    assert clip == frames


def test_counting_changes_no_result() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU())
    x = torch.rand(2, 4)
    with torch.no_grad():
        plain = model(x)
        with counting(model):
            assert torch.equal(model(x), plain)
