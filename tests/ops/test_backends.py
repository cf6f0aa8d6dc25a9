"""Backends say whether they can take a call; what they are asked for and cannot do is an error."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from memx import ops
from memx.ops import dispatch, fla_rules
from memx.ops.call import Call


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 5, 2, 4, generator=generator).to(dtype) for _ in range(3))
    return q, torch.nn.functional.normalize(k, dim=-1), v


def call(**changes):
    q, k, v = inputs(torch.bfloat16)
    fields = {"op": "gated_delta_rule", "q": q, "k": k, "v": v, "log_decay": None, "beta": None, "erases": True}
    fields |= {"scale": 0.5, "initial_state": None, "reset": None, "form": "chunk", "chunk_size": None}
    return Call(**{**fields, **changes})


def test_every_backend_is_listed_with_its_reason():
    rows = {row.name: row for row in ops.backends()}
    assert set(rows) == {"torch", "fla"}
    assert rows["torch"].available
    assert rows["torch"].exact
    assert not rows["torch"].reason
    assert rows["fla"].available == (not rows["fla"].reason)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="there is no backend 'triton'; there are auto, torch, fla"):
        ops.delta_rule(*inputs(), backend="triton")


def test_fla_on_the_cpu_is_an_error_with_the_reason():
    with pytest.raises(ValueError, match="backend 'fla' cannot take this call: "):
        ops.delta_rule(*inputs(), backend="fla")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "run on CUDA"),
        ({"form": "recurrent"}, "form 'chunk'"),
        ({"chunk_size": 16}, "leave chunk_size out"),
        ({"v": torch.zeros(2, 5, 2, 4)}, "one half precision"),
        ({"reset": torch.zeros(2, 5, dtype=torch.bool)}, "no resets"),
    ],
)
def test_fla_says_why_it_refuses(changes, says, monkeypatch):
    if changes:
        monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert says in fla_rules.refuses(call(**changes))


def test_auto_takes_no_backend_that_promises_less(monkeypatch):
    willing = dispatch.Backend("fast", "", False, lambda: None, lambda call: None, fla_rules.run)
    monkeypatch.setattr(dispatch, "_BACKENDS", (willing, *dispatch._BACKENDS))
    assert dispatch.choose(call(), "auto").name == "torch"
    assert dispatch.choose(call(), "fast").name == "fast"


@pytest.mark.parametrize(
    ("module", "kernel", "rule", "gate"),
    [
        ("delta_rule", "chunk_delta_rule", "delta_rule", None),
        ("gated_delta_rule", "chunk_gated_delta_rule", "gated_delta_rule", "head"),
        ("kda", "chunk_kda", "gated_delta_rule", "channel"),
        ("simple_gla", "chunk_simple_gla", "linear_attention", "head"),
        ("simple_gla", "chunk_simple_gla", "linear_attention", None),
        ("gla", "chunk_gla", "linear_attention", "channel"),
    ],
)
def test_fla_is_called_by_its_own_names(module, kernel, rule, gate, monkeypatch):
    """A stand-in with fla's signature computes what memx computes: names, order and the gate's layout are right."""
    seen = []

    def stand_in(*, q, k, v, scale, initial_state, output_final_state, g=None, beta=None):
        assert output_final_state
        assert initial_state.dtype == torch.float32
        seen.append(kernel)
        given = {"scale": scale, "initial_state": initial_state, "form": "recurrent"}
        if beta is None:
            return ops.linear_attention(q, k, v, log_decay=g, **given)
        return ops.gated_delta_rule(q, k, v, log_decay=g, beta=beta, **given)

    monkeypatch.setitem(sys.modules, "fla", types.ModuleType("fla"))
    monkeypatch.setitem(sys.modules, "fla.ops", types.ModuleType("fla.ops"))
    fake = types.ModuleType(f"fla.ops.{module}")
    setattr(fake, kernel, stand_in)
    monkeypatch.setitem(sys.modules, f"fla.ops.{module}", fake)

    q, k, v = inputs(torch.bfloat16)
    shape = {"head": (2, 5, 2), "channel": (2, 5, 2, 4)}.get(gate)
    options = {} if shape is None else {"log_decay": -torch.rand(shape)}
    if rule != "linear_attention":
        options["beta"] = torch.rand(2, 5, 2)
    state = torch.randn(2, 2, 4, 4)
    fields = {"log_decay": None, "beta": None, "erases": rule != "linear_attention", "scale": 0.5}
    got = fla_rules.run(call(q=q, k=k, v=v, op=rule, **{**fields, **options}, initial_state=state))
    want = getattr(ops, rule)(q, k, v, **options, scale=0.5, initial_state=state)
    assert seen == [kernel]
    assert torch.allclose(got[0].float(), want[0].float(), atol=2e-2)
    assert torch.allclose(got[1], want[1], atol=1e-4)
