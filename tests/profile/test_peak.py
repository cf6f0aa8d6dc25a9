"""Peak memory on cases that can be counted by hand."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from memx.profile.peak import peak_bytes

KIB = 1024


def test_a_product_holds_its_result_and_inputs_do_not_count() -> None:
    x, y = torch.rand(64, 32), torch.rand(32, 16)
    assert peak_bytes(lambda: x @ y) == 64 * 16 * 4


def test_a_chain_holds_two_at_a_time() -> None:
    x = torch.rand(16 * KIB)  # 64 KiB

    def chain() -> Tensor:
        a = x + x
        for _ in range(5):
            a = a + x  # the old one is released only once the new one is there
        return a

    assert peak_bytes(chain) == 2 * 64 * KIB


def test_what_is_kept_adds_up() -> None:
    x = torch.rand(16 * KIB)
    assert peak_bytes(lambda: [x + x for _ in range(7)]) == 7 * 64 * KIB


def test_saved_tensors_count() -> None:
    """In units of 64 KiB. exp saves its result a, which sin saves too; s = sin(a) lives until y = exp(s) is there."""
    x = torch.rand(16 * KIB, requires_grad=True)
    gradient = torch.ones(16 * KIB)

    def forward() -> Tensor:
        return x.exp().sin().exp()

    assert peak_bytes(forward) == 3 * 64 * KIB, "a, s and y"
    with torch.no_grad():
        assert peak_bytes(forward) == 2 * 64 * KIB, "s and y"
    backward = peak_bytes(lambda: torch.autograd.grad(forward(), x, gradient))
    assert backward == 5 * 64 * KIB, "a, y, the gradient to s, cos(a) and their product"


def test_what_was_there_before_does_not_count_when_it_is_released() -> None:
    held = [torch.rand(16 * KIB) for _ in range(4)]

    def release() -> Tensor:
        if held:
            held.pop()
        return torch.empty(4 * KIB)

    assert peak_bytes(release) == 16 * KIB


def test_what_is_made_once_only_does_not_count() -> None:
    kept: list[Tensor] = []

    def call() -> Tensor:
        if not kept:
            kept.append(torch.rand(16 * KIB))
        return kept[0] + kept[0]

    assert peak_bytes(call) == 64 * KIB


def test_it_says_nothing_and_leaves_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    peak_bytes(lambda: torch.empty(4))
    os.write(2, b"still here")
    assert capfd.readouterr() == ("", "still here")
    with pytest.raises(RuntimeError, match="boom"):
        peak_bytes(lambda: (_ for _ in ()).throw(RuntimeError("boom")).__next__())
    os.write(2, b"and after an error")
    assert capfd.readouterr().err == "and after an error"


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="there are cpu and cuda"):
        peak_bytes(lambda: None, "meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cuda_counts_results_and_not_inputs() -> None:
    x = torch.rand(16 * KIB, device="cuda")
    assert peak_bytes(lambda: [x + x for _ in range(3)], "cuda") == 3 * 64 * KIB
