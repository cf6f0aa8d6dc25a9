"""What the rules may be differentiated with, compiled by, and given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memx import ops

RULES = [ops.linear_attention, ops.delta_rule, ops.gated_delta_rule]


def drawn(b=2, t=5, h=2, k=3, v=4, *, dtype=torch.float64, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    made = {n: torch.randn(b, t, h, k, generator=generator, dtype=dtype) for n in ("q", "k")}
    made["v"] = torch.randn(b, t, h, v, generator=generator, dtype=dtype)
    return {n: x.requires_grad_(requires_grad) for n, x in made.items()}


@pytest.mark.parametrize("rule", RULES)
def test_the_recurrent_form_has_higher_derivatives_and_the_chunk_form_says_that_it_has_none(rule):
    x = drawn(b=1, t=3, h=1, k=2, v=2, requires_grad=True)
    torch.autograd.gradgradcheck(lambda *x: rule(*x, form="recurrent")[0], tuple(x.values()))
    out, _ = rule(**x)
    with pytest.raises(RuntimeError, match="higher derivatives take form='recurrent'"):
        torch.autograd.grad(out.square().sum(), x["q"], create_graph=True)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_a_compiler_takes_a_rule_whole_and_changes_nothing(rule, form):
    x = drawn()
    want = rule(**x, form=form)
    got = torch.compile(rule, backend="eager", fullgraph=True)(**x, form=form)
    for ours, theirs in zip(got, want, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_without_gradients_nothing_is_kept():
    x = drawn(requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda y: kept.append(y) or y, lambda y: y):
        with torch.no_grad():
            out, state = ops.gated_delta_rule(**x)
        assert not kept
        ops.gated_delta_rule(**x)
        assert kept
    assert out.grad_fn is None
    assert state.grad_fn is None


@pytest.mark.parametrize("axis", ["b", "t", "h", "v", "k"])
@pytest.mark.parametrize("t", [1, 4])
@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_an_axis_may_be_empty(axis, t, form):
    sizes = {"b": 2, "t": t, "h": 2, "k": 3, "v": 4, axis: 0}
    out, state = ops.gated_delta_rule(**drawn(**sizes), form=form)
    assert out.shape == (sizes["b"], sizes["t"], sizes["h"], sizes["v"])
    assert state.shape == (sizes["b"], sizes["h"], sizes["k"], sizes["v"])
    assert not out.isnan().any()


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("q", torch.ones(2, 5, 2, 3, dtype=torch.int64), ValueError, "q must be floating, not int64"),
        ("k", torch.ones(2, 5, 2, 3, dtype=torch.complex64), ValueError, "k must be floating, not complex64"),
        ("v", np.ones((2, 5, 2, 4)), TypeError, r"v must be a tensor \(b, t, h, v\), not ndarray"),
        ("beta", 0.5, TypeError, r"beta must be a tensor \(b, t, h\), not float"),
        ("log_decay", -0.1, TypeError, "log_decay must be a tensor"),
        ("reset", torch.zeros(2, 5), ValueError, "reset must be bool, not float32"),
        ("reset", [[True]], TypeError, "reset must be a tensor"),
        ("chunk_size", 2.5, ValueError, "chunk_size must be an integer of at least 1, not 2.5"),
        ("chunk_size", "64", ValueError, "chunk_size must be an integer"),
    ],
)
def test_what_is_no_tensor_or_of_a_wrong_dtype_is_refused_by_name(name, value, error, says):
    with pytest.raises(error, match=f"gated_delta_rule: {says}"):
        ops.gated_delta_rule(**drawn() | {name: value})


def test_attention_refuses_by_name():
    q, k, v = torch.randn(1, 2, 3), torch.randn(1, 4, 3), torch.randn(1, 1, 4, 5)
    for options, says in [
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"mask": torch.ones(1, 2, 4)}, "mask must be bool, not float32"),
        ({"similarity": "euclid"}, "similarity must be dot, cosine or l2, not 'euclid'"),
    ]:
        with pytest.raises(ValueError, match=says):
            ops.space_time_attention(q, k, v, **options)
    with pytest.raises(ValueError, match="euclid"):
        ops.space_time_attention(q, k[:, :0], v[:, :, :0], similarity="euclid")


def test_the_frame_write_refuses_gates_that_would_widen_the_state_and_misspelt_normalisers():
    S, k, v = torch.randn(2, 3, 4), torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    with pytest.raises(ValueError, match="alpha must broadcast against S"):
        ops.frame_delta_rule(S, k, v, alpha=torch.rand(3, 2, 1, 1))
    with pytest.raises(ValueError, match="beta must broadcast against S"):
        ops.frame_delta_rule(S, k, v, beta=torch.rand(2))
    with pytest.raises(ValueError, match="frame_delta_rule: normalize must be none, tokens or spectral, not 'token'"):
        ops.frame_delta_rule(S, k, v, normalize="token", erase=False)


@pytest.mark.parametrize("normalize", ["none", "tokens", "spectral"])
def test_a_bad_clip_keeps_no_other_from_its_frame_write(normalize):
    S, k, v = torch.randn(2, 3, 4), torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    want = ops.frame_delta_rule(S[:1], k[:1], v[:1], normalize=normalize)
    k[1, 2] = torch.nan
    got = ops.frame_delta_rule(S, k, v, normalize=normalize)
    assert torch.allclose(got[:1], want)
    assert got[1].isnan().all()
