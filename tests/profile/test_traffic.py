"""Bytes are what a hand counts: inputs read, results written, views nothing, broadcast tensors as they are stored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from memx.models.build import build
from memx.profile.arithmetic import Tally
from memx.profile.components import count
from memx.recipe import Recipe

B, H, N, D = 2, 3, 5, 7
F32 = 4


class Work(nn.Module):
    """One function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def tally(function, *inputs: Tensor) -> Tally:
    with torch.no_grad():
        return count(Work(function), lambda: function(*inputs)).whole


@pytest.mark.parametrize(
    ("function", "elements"),
    [
        (lambda a: a.transpose(0, 1), 0),
        (lambda a: a[None].expand(9, N, D).permute(2, 0, 1)[1:], 0),
        (lambda a: a.view(D, N).unbind(0), 0),
        (lambda a: torch.empty_like(a), 0),
        (lambda a: torch.zeros_like(a), N * D),
        (lambda a: a.fill_(1), N * D),
        (lambda a: a.clone(), 2 * N * D),
        (lambda a: a.t().contiguous(), 2 * N * D),
        (lambda a: torch.cat([a, a + 0]), 2 * N * D + 4 * N * D),
        (lambda a: torch.cat([a, a]), N * D + 2 * N * D),
        (lambda a: a + a, 2 * N * D),
        (lambda a: a + 1, 2 * N * D),
        (lambda a: a.add_(1), 2 * N * D),
        (lambda a: a * a[:1], N * D + D + N * D),
        (lambda a: a * a[:1].expand(N, D), N * D + D + N * D),
        (lambda a: torch.empty_like(a).copy_(a), 2 * N * D),
        (lambda a: a.sum(), N * D + 1),
    ],
)
def test_moved_by_hand(function, elements: int) -> None:
    assert tally(function, torch.rand(N, D)).bytes == F32 * elements


def test_an_index_reads_what_it_takes() -> None:
    rows = torch.tensor([1, 1, 4])
    found = tally(lambda a: a[rows], torch.rand(N, D))
    assert found.bytes == F32 * 2 * 3 * D + 8 * 3
    assert tally(lambda a: a.index_select(0, rows), torch.rand(N, D)).bytes == found.bytes


def test_a_cast_reads_and_writes_each_format() -> None:
    assert tally(lambda a: a.to(torch.bfloat16), torch.rand(N, D)).bytes == (4 + 2) * N * D


def test_products_by_hand() -> None:
    """Weights, inputs and bias read, result written; an einsum of two of three axes moves no more than its product."""
    x, weight, bias = torch.rand(N, D), torch.rand(H, D), torch.rand(H)
    assert tally(lambda a: functional.linear(a, weight, bias), x).bytes == F32 * (N * D + H * D + H + N * H)
    image, kernel = torch.rand(B, 3, 6, 10), torch.rand(8, 3, 3, 3)
    convolved = tally(lambda a: functional.conv2d(a, kernel, torch.rand(8), padding=1), image)
    assert convolved.bytes == F32 * (8 + B * 3 * 60 + 8 * 3 * 9 + 8 + B * 8 * 60), "and the bias is made"
    a, b = torch.rand(B, N, D), torch.rand(B, D, H)
    product = tally(lambda p, q: torch.einsum("bnd,bdh->bnh", p, q), a, b)
    assert product.bytes == F32 * (B * N * D + B * D * H + B * N * H)
    assert [call.operator for call in product.calls] == ["bmm"]


def test_attention_moves_its_inputs_and_its_result_as_one_call() -> None:
    """Where it is fused its scores are no bytes; its arithmetic is that of its plain form."""
    q, k, v = (torch.rand(B, H, n, D) for n in (N, 11, 11))
    found = tally(functional.scaled_dot_product_attention, q, k, v)
    (call,) = found.calls
    assert (call.operator, found.calls.total()) == ("scaled_dot_product_attention", 1)
    assert call.bytes == F32 * B * H * D * (2 * N + 2 * 11)
    assert (call.macs, call.pointwise) == (found.macs.total(), found.pointwise.total())


def test_calls_add_up_to_what_was_counted() -> None:
    recipe = Recipe.load("gdkvm_phantom", ["data.size=32"])
    model = build(recipe).eval()
    frame = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        state = model.step(frame, model.init_state())[1]
    found = count(model, lambda: model.step(frame, state))
    for component in found.walk():
        calls = component.whole.calls
        assert sum(n * call.macs for call, n in calls.items()) == component.whole.macs.total()
        assert sum(n * call.pointwise for call, n in calls.items()) == component.whole.pointwise.total()
        below = sum(part.whole.bytes for part in component.parts)
        assert component.whole.bytes == below + component.own.bytes
    data = found.as_dict()
    assert (
        data["bytes"]
        == found.whole.bytes
        > sum(p.nbytes for part in found.parts if part.ran for p in used(model, part))
    )
    assert data["operators"] == found.whole.calls.total()


def used(model: nn.Module, part) -> list[nn.Parameter]:
    """The weights of a part: each is read once a frame at least."""
    return list(model.get_submodule(part.path).parameters())
