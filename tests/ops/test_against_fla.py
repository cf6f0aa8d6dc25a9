"""The rules against flash-linear-attention: its naive functions where triton is, its kernels where CUDA is too.

The naive functions compute in float32; results are compared in float32, every one within 2e-5 of its own largest entry.
The kernels get bfloat16 and are held to our float32 result on the same numbers, within 2e-2.
Importing fla takes ten seconds, so nothing is imported before a test runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from memx import ops

TOLERANCE = 2e-5
HALF_TOLERANCE = 2e-2
SHAPES = [(2, 128, 3, 8, 8), (1, 64, 2, 16, 5), (1, 192, 1, 4, 24)]
"""Multiples of 64 tokens: several of the naive chunk forms pad nothing."""
ODD = [(2, 1, 3, 8, 4), (1, 97, 2, 16, 5)]


@pytest.fixture(scope="module")
def fla() -> Callable[[str, str], Any]:
    """A function of fla.ops by module and name; skips where the package is not, or cannot be imported."""
    pytest.importorskip("triton", reason="fla imports triton, which is not installed")
    pytest.importorskip("fla.ops", reason="flash-linear-attention is in the extra `cuda`", exc_type=ImportError)
    return lambda module, name: getattr(importlib.import_module(f"fla.ops.{module}"), name)


def draw(shape: tuple[int, ...], *, channelwise: bool = False, seed: int = 0) -> dict[str, Tensor]:
    """Unit keys, log-decays uniform in (−0.5, 0), β uniform in (0, 1), the rest normal; float32."""
    b, t, h, k, v = shape
    generator = torch.Generator().manual_seed(seed)
    return {
        "q": torch.randn(b, t, h, k, generator=generator),
        "k": functional.normalize(torch.randn(b, t, h, k, generator=generator), dim=-1),
        "v": torch.randn(b, t, h, v, generator=generator),
        "log_decay": -0.5 * torch.rand(b, t, h, *([k] if channelwise else []), generator=generator),
        "beta": torch.rand(b, t, h, generator=generator),
        "initial_state": torch.randn(b, h, k, v, generator=generator),
    }


def results(rule: Callable[..., tuple[Tensor, Tensor | None]], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Output, final state (where there is one), and the gradients of a fixed linear functional of both."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    got = {name: x for name, x in zip(("out", "state"), rule(**leaves), strict=True) if x is not None}
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros((), device=got["out"].device)
    for x in got.values():
        loss = loss + (x.float() * torch.randn(x.shape, generator=generator).to(x.device)).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return got | {f"d{name}": g for name, g in zip(leaves, gradients, strict=True)}


def agree(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert torch.isfinite(expected).all(), name
        error, largest = (got[name].double() - expected.double()).abs().max(), expected.abs().max()
        assert error <= tolerance * largest, f"{name}: off by {error:.3g} beside {largest:.3g}"


def compare(
    ours: Callable[..., tuple[Tensor, Tensor]], theirs: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor]
) -> None:
    """Both forms of ours against theirs."""
    want = results(theirs, inputs)
    for form in ("recurrent", "chunk"):
        agree(results(lambda form=form, **x: ours(**x, form=form), inputs), want)


def without(inputs: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: x for name, x in inputs.items() if name not in names}


def heads_first(*tensors: Tensor) -> list[Tensor]:
    """(b t h ·) ↔ (b h t ·)."""
    return [x.transpose(1, 2) for x in tensors]


@pytest.mark.parametrize("shape", [*SHAPES, *ODD])
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_gated_delta(fla, form, shape):
    function = fla("gated_delta_rule.naive", f"naive_{form}_gated_delta_rule")

    def theirs(q, k, v, log_decay, beta, initial_state):
        return function(q=q, k=k, v=v, g=log_decay, beta=beta, initial_state=initial_state, output_final_state=True)

    compare(ops.gated_delta_rule, theirs, draw(shape))


@pytest.mark.parametrize("shape", [*SHAPES, *ODD])
def test_delta_recurrent(fla, shape):
    function = fla("delta_rule.naive", "delta_rule_recurrence")

    def theirs(q, k, v, beta, initial_state):
        out, state = function(*heads_first(q, k, v, beta), initial_state=initial_state)
        return out.transpose(1, 2), state

    compare(ops.delta_rule, theirs, without(draw(shape), "log_decay"))


@pytest.mark.parametrize("shape", SHAPES)
def test_delta_chunk(fla, shape):
    function = fla("delta_rule.naive", "delta_rule_chunkwise")

    def theirs(q, k, v, beta):
        out, state = function(*heads_first(q, k, v, beta))
        return out.transpose(1, 2), state

    compare(ops.delta_rule, theirs, without(draw(shape), "log_decay", "initial_state"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_kda(fla, form, shape):
    function = fla("kda.naive", f"naive_{form}_kda")

    def theirs(q, k, v, log_decay, beta, initial_state):
        return function(q=q, k=k, v=v, g=log_decay, beta=beta, initial_state=initial_state, output_final_state=True)

    compare(ops.gated_delta_rule, theirs, draw(shape, channelwise=True))


@pytest.mark.parametrize("shape", [*SHAPES, *ODD])
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_one_decay_a_head(fla, form, shape):
    """fla's simple GLA: retention with a decay that depends on the token, Mamba-2's recurrence."""
    function = fla("simple_gla.naive", f"naive_{form}_simple_gla")

    def theirs(q, k, v, log_decay, initial_state):
        return function(q=q, k=k, v=v, g=log_decay, initial_state=initial_state, output_final_state=True)

    compare(ops.linear_attention, theirs, without(draw(shape), "beta"))


@pytest.mark.parametrize("shape", [*SHAPES, *ODD])
def test_gla(fla, shape):
    function = fla("gla.naive", "naive_recurrent_gla")

    def theirs(q, k, v, log_decay, initial_state):
        return function(q=q, k=k, v=v, gk=log_decay, initial_state=initial_state, output_final_state=True)

    compare(ops.linear_attention, theirs, without(draw(shape, channelwise=True), "beta"))


@pytest.mark.parametrize("shape", [*SHAPES, *ODD])
def test_retention(fla, shape):
    """Head i forgets 2^(−5−i) of its state a token; fla's function gives no final state."""
    function = fla("retention.naive", "naive_retention")
    b, t, h, *_ = shape
    log_decay = (1 - torch.exp2(-5.0 - torch.arange(h, dtype=torch.float32))).log().expand(b, t, h)

    def theirs(q, k, v):
        return function(*heads_first(q, k, v)).transpose(1, 2), None

    def ours(q, k, v, form):
        return ops.linear_attention(q, k, v, log_decay=log_decay, form=form)[0], None

    compare(ours, theirs, without(draw(shape), "log_decay", "beta", "initial_state"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fla's kernels need a CUDA device, and torch sees none")
@pytest.mark.parametrize("shape", [(2, 128, 3, 64, 64), (1, 97, 2, 64, 256), (1, 2560, 1, 64, 256)])
@pytest.mark.parametrize(
    ("rule", "gates"),
    [
        ("linear_attention", "none"),
        ("linear_attention", "head"),
        ("linear_attention", "channel"),
        ("delta_rule", "none"),
        ("gated_delta_rule", "head"),
        ("gated_delta_rule", "channel"),
    ],
)
def test_kernels(fla, rule, gates, shape):
    """backend="fla" in bfloat16 against our backend in float32, on numbers that bfloat16 holds exactly."""
    inputs = {n: x.cuda() for n, x in draw(shape, channelwise=gates == "channel").items()}
    inputs |= {n: inputs[n].bfloat16() for n in ("q", "k", "v", "beta")}
    if gates == "none":
        inputs.pop("log_decay")
    if rule == "linear_attention":
        inputs.pop("beta")

    def on(backend: str, **changes: Any):
        return lambda **x: getattr(ops, rule)(**x, backend=backend, **changes)

    want = results(on("torch"), {n: x.float() for n, x in inputs.items()})
    agree(results(on("fla"), inputs), want, HALF_TOLERANCE)
