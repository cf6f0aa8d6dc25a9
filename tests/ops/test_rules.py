"""The rules of memx.ops: forms agree, extremes are exact, the future stays out of the past, shapes are named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from memx import ops

SETTINGS = settings(deadline=None, max_examples=40, derandomize=True, database=None)
RULES = ("linear_attention", "delta_rule", "gated_delta_rule")
EXTREMES = (-20.0, -100.0, -1e4, float("-inf"))


def draw(rule, *, b, t, h, k, v, channelwise, seed, extreme=None, resets=False, dtype=torch.float64):
    """Inputs of a rule by name; keys have unit length, β lies in (0, 1), decays in (−1, 0) or at an extreme."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = {"q": normal(b, t, h, k), "k": functional.normalize(normal(b, t, h, k), dim=-1), "v": normal(b, t, h, v)}
    if rule != "delta_rule":
        shape = (b, t, h, k) if channelwise else (b, t, h)
        decay = -torch.rand(shape, generator=generator, dtype=torch.float64)
        if extreme is not None:
            decay = decay.masked_fill(torch.rand(shape, generator=generator) < 0.2, extreme)
        inputs["log_decay"] = decay
    if rule != "linear_attention":
        inputs["beta"] = torch.rand(b, t, h, generator=generator, dtype=torch.float64)
    inputs["initial_state"] = normal(b, h, k, v)
    reset = torch.rand(b, t, generator=generator) < 0.2 if resets else None
    return {name: x.to(dtype) for name, x in inputs.items()}, reset


def run(rule, inputs, reset, **options):
    """Output, final state and every gradient of a fixed linear functional of both."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    q, k, v = leaves["q"], leaves["k"], leaves["v"]
    rest = {name: x for name, x in leaves.items() if name not in "qkv"}
    out, state = getattr(ops, rule)(q, k, v, **rest, reset=reset, **options)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in (out, state)]
    loss = (out * weights[0]).sum() + (state * weights[1]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    named = {
        f"d{n}": torch.zeros_like(x) if g is None else g for (n, x), g in zip(leaves.items(), gradients, strict=True)
    }
    return {"out": out.detach(), "state": state.detach(), **named}


def agree(got, want, tolerance):
    """Relative to the largest entry of each result; only below the smallest normal number may digits be lost."""
    for name, expected in want.items():
        if expected.numel():
            assert torch.isfinite(expected).all(), name
            error, largest = (got[name] - expected).abs().max().item(), expected.abs().max().item()
            tiny = torch.finfo(expected.dtype).tiny
            assert error <= max(tolerance * largest, tiny), f"{name}: {error:.3g} beside {largest:.3g}"


sizes = {
    "b": st.integers(1, 2),
    "t": st.sampled_from([0, 1, 2, 7, 13]),
    "h": st.integers(1, 3),
    "k": st.sampled_from([1, 3, 8]),
    "v": st.sampled_from([1, 4, 5]),
    "channelwise": st.booleans(),
    "seed": st.integers(0, 999),
    "extreme": st.sampled_from([None, *EXTREMES]),
    "resets": st.booleans(),
}


@pytest.mark.parametrize("rule", RULES)
@SETTINGS
@given(case=st.fixed_dictionaries(sizes), chunk_size=st.sampled_from([None, 1, 2, 3, 5, 64]))
def test_chunk_equals_recurrent_with_gradients(rule, case, chunk_size):
    inputs, reset = draw(rule, **case)
    want = run(rule, inputs, reset, form="recurrent")
    agree(run(rule, inputs, reset, chunk_size=chunk_size), want, 1e-10)
    single = {name: x.float() for name, x in inputs.items()}
    agree(run(rule, single, reset, chunk_size=chunk_size), {n: x.float() for n, x in want.items()}, 1e-4)


@pytest.mark.parametrize("channelwise", [False, True])
def test_chunk_equals_recurrent_at_a_real_size(channelwise):
    """One frame of 256 tokens with 64 keys: 1e-10 in float64 and 1e-4 in float32, gradients included."""
    shape = {"b": 1, "t": 256, "h": 2, "k": 64, "v": 32, "channelwise": channelwise, "seed": 0}
    inputs, reset = draw("gated_delta_rule", **shape, resets=False)
    want = run("gated_delta_rule", inputs, reset, form="recurrent")
    agree(run("gated_delta_rule", inputs, reset), want, 1e-10)
    single = {name: x.float() for name, x in inputs.items()}
    agree(run("gated_delta_rule", single, reset), {n: x.float() for n, x in want.items()}, 1e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_recurrent_form_is_the_equation(rule, form):
    inputs, reset = draw(rule, b=2, t=6, h=2, k=3, v=4, channelwise=True, seed=3, resets=True)
    q, k, v, S = inputs["q"], inputs["k"], inputs["v"], inputs["initial_state"]
    out = torch.empty_like(v)
    for b in range(2):
        for h in range(2):
            M = S[b, h].clone()
            for t in range(6):
                M = torch.zeros_like(M) if reset[b, t] else M
                if "log_decay" in inputs:
                    M = torch.diag(inputs["log_decay"][b, t, h].exp()) @ M
                if rule == "linear_attention":
                    M = M + torch.outer(k[b, t, h], v[b, t, h])
                else:
                    error = v[b, t, h] - M.T @ k[b, t, h]
                    M = M + inputs["beta"][b, t, h] * torch.outer(k[b, t, h], error)
                out[b, t, h] = M.T @ q[b, t, h] * 0.25
    agree({"out": run(rule, inputs, reset, form=form, scale=0.25)["out"]}, {"out": out}, 1e-12)


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("channelwise", [False, True])
def test_decays_far_below_zero_are_exact_in_float32(extreme, channelwise):
    """Against the float64 recurrence: running sums that are subtracted lose all digits here."""
    shape = {"b": 1, "t": 64, "h": 2, "k": 8, "v": 4, "channelwise": channelwise, "seed": 5, "extreme": extreme}
    inputs, _ = draw("gated_delta_rule", **shape)
    want = run("gated_delta_rule", inputs, None, form="recurrent")
    for form in ("recurrent", "chunk"):
        got = run("gated_delta_rule", {n: x.float() for n, x in inputs.items()}, None, form=form)
        agree(got, {n: x.float() for n, x in want.items()}, 2e-6)


@pytest.mark.parametrize("rule", ["linear_attention", "gated_delta_rule"])
@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_a_reset_is_a_decay_of_minus_infinity_is_a_fresh_start(rule, form):
    inputs, _ = draw(rule, b=1, t=9, h=2, k=3, v=4, channelwise=False, seed=8)
    at = 4
    reset = torch.zeros(1, 9, dtype=torch.bool)
    reset[:, at] = True
    by_reset = run(rule, inputs, reset, form=form)
    forgotten = inputs["log_decay"].clone()
    forgotten[:, at] = float("-inf")
    by_decay = run(rule, inputs | {"log_decay": forgotten}, None, form=form)
    agree(by_decay, by_reset | {"dlog_decay": by_decay["dlog_decay"]}, 1e-12)
    rest = {n: x[:, at:] if n != "initial_state" else torch.zeros_like(x) for n, x in inputs.items()}
    fresh = run(rule, rest, None, form=form)
    agree({"out": by_reset["out"][:, at:], "state": by_reset["state"]}, {n: fresh[n] for n in ("out", "state")}, 1e-12)
    assert by_reset["dinitial_state"].abs().max() > 0
    silent = getattr(ops, rule)(inputs["q"], inputs["k"], inputs["v"], log_decay=inputs["log_decay"], reset=reset)
    assert torch.isfinite(silent[0]).all()


@pytest.mark.parametrize("rule", RULES)
@SETTINGS
@given(
    part=st.sampled_from(["q", "k", "v", "log_decay", "beta"]),
    bad=st.sampled_from([float("nan"), float("inf")]),
    at=st.integers(1, 8),
    form=st.sampled_from(["recurrent", "chunk"]),
    chunk_size=st.sampled_from([None, 1, 4]),
)
def test_a_bad_token_does_not_reach_the_past(rule, part, bad, at, form, chunk_size):
    inputs, _ = draw(rule, b=2, t=9, h=2, k=3, v=4, channelwise=False, seed=2)
    if part not in inputs:
        part = "v"
    poisoned = inputs | {part: inputs[part].clone()}
    poisoned[part][0, at, 1] = bad
    options = {"form": form} if form == "recurrent" else {"form": form, "chunk_size": chunk_size}

    def past(values):
        leaves = {n: x.clone().requires_grad_() for n, x in values.items()}
        rest = {n: x for n, x in leaves.items() if n not in "qkv"}
        out, state = getattr(ops, rule)(leaves["q"], leaves["k"], leaves["v"], **rest, **options)
        gradients = torch.autograd.grad(out[:, :at].square().sum(), list(leaves.values()))
        seen = [g if n == "initial_state" else g[:, :at] for n, g in zip(leaves, gradients, strict=True)]
        return out.detach(), state.detach(), seen

    out, state, gradients = past(poisoned)
    want, _, want_gradients = past(inputs)
    assert torch.equal(out[:, :at], want[:, :at])
    assert all(torch.equal(a, b) for a, b in zip(gradients, want_gradients, strict=True))
    assert out[0, at, 1].isnan().all()
    assert torch.equal(out[1], want[1])
    assert torch.equal(out[0, :, 0], want[0, :, 0])
    if part != "q":
        assert out[0, at:, 1].isnan().all()
        assert state[0, 1].isnan().all()


def test_a_reset_ends_what_a_bad_token_spoiled():
    inputs, _ = draw("gated_delta_rule", b=1, t=9, h=1, k=3, v=4, channelwise=False, seed=2)
    inputs["v"][0, 2] = float("nan")
    inputs["initial_state"][0, 0, 0, 0] = float("nan")
    reset = torch.zeros(1, 9, dtype=torch.bool)
    reset[0, [1, 6]] = True
    for form in ("recurrent", "chunk"):
        rest = {n: x for n, x in inputs.items() if n not in "qkv"}
        out, state = ops.gated_delta_rule(inputs["q"], inputs["k"], inputs["v"], **rest, reset=reset, form=form)
        assert out.isnan().all(-1).flatten().tolist() == [True, False, *[True] * 4, False, False, False]
        assert torch.isfinite(state).all()


@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_limits(form):
    inputs, _ = draw("gated_delta_rule", b=2, t=7, h=2, k=8, v=4, channelwise=False, seed=4)
    q, k, v, S = inputs["q"], inputs["k"], inputs["v"], inputs["initial_state"]
    zero, one = torch.zeros(2, 7, 2).double(), torch.ones(2, 7, 2).double()
    options = {"initial_state": S, "form": form}
    # α = 1 is the ungated rule
    gated = ops.gated_delta_rule(q, k, v, log_decay=zero, beta=inputs["beta"], **options)
    plain = ops.delta_rule(q, k, v, beta=inputs["beta"], **options)
    agree({"o": gated[0], "s": gated[1]}, {"o": plain[0], "s": plain[1]}, 1e-12)
    # β = 0 is pure decay
    decayed = ops.gated_delta_rule(q, k, v, log_decay=inputs["log_decay"], beta=zero, **options)[1]
    agree({"s": decayed}, {"s": inputs["log_decay"].sum(1).exp()[..., None, None] * S}, 1e-12)
    # after a write with β = 1 and a unit key, reading that key gives that value
    read = ops.gated_delta_rule(k, k, v, log_decay=inputs["log_decay"], beta=one, scale=1.0, **options)[0]
    agree({"v": read}, {"v": v}, 1e-12)
    # orthonormal keys from an empty state: delta and linear agree
    basis = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).double())[0][:7]
    basis = basis[None, :, None].expand(2, 7, 2, 8)
    delta, linear = ops.delta_rule(q, basis, v, form=form), ops.linear_attention(q, basis, v, form=form)
    agree({"o": delta[0], "s": delta[1]}, {"o": linear[0], "s": linear[1]}, 1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_float64_gradients_pass_gradcheck(rule):
    inputs, reset = draw(rule, b=1, t=4, h=2, k=2, v=3, channelwise=True, seed=6, resets=True)
    leaves = [x.requires_grad_() for x in inputs.values()]
    for form in ("recurrent", "chunk"):

        def call(*tensors, form=form):
            named = dict(zip(inputs, tensors, strict=True))
            q, k, v = (named.pop(n) for n in "qkv")
            return getattr(ops, rule)(q, k, v, **named, reset=reset, form=form, chunk_size=3)

        assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


def test_strides_dtypes_and_autocast():
    inputs, _ = draw("gated_delta_rule", b=2, t=5, h=2, k=4, v=3, channelwise=False, seed=7, dtype=torch.float32)
    strided = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()}
    kept = {n: x.clone() for n, x in inputs.items()}
    for form in ("recurrent", "chunk"):
        want = run("gated_delta_rule", inputs, None, form=form)
        agree(run("gated_delta_rule", strided, None, form=form), want, 1e-6)
        rest = {n: x for n, x in inputs.items() if n not in "qkv"}
        with torch.autocast("cpu", torch.bfloat16):
            out, state = ops.gated_delta_rule(inputs["q"], inputs["k"], inputs["v"], **rest, form=form)
        agree({"out": out, "state": state}, {n: want[n] for n in ("out", "state")}, 1e-6)
        half = {n: x.bfloat16() for n, x in inputs.items()}
        rest = {n: x for n, x in half.items() if n not in "qkv"}
        out, state = ops.gated_delta_rule(half["q"], half["k"], half["v"], **rest, form=form)
        assert (out.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert all(torch.equal(kept[n], inputs[n]) for n in kept)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("q", (2, 5, 2, 3), r"q must be \(b, t, h, k\) with k = 4 as in k, but its shape is \(2, 5, 2, 3\)"),
        ("v", (2, 5, 6), r"v must be \(b, t, h, v\), but has 3 axes: \(2, 5, 6\)"),
        ("beta", (2, 5, 3), r"beta must be \(b, t, h\) with h = 2"),
        ("log_decay", (2, 5), r"log_decay must be \(b, t, h\) or \(b, t, h, k\)"),
        ("initial_state", (2, 2, 3, 4), r"initial_state must be \(b, h, k, v\) with k = 4"),
    ],
)
def test_wrong_shapes_are_refused_by_name(name, shape, says):
    inputs, _ = draw("gated_delta_rule", b=2, t=5, h=2, k=4, v=3, channelwise=False, seed=0)
    inputs[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=says):
        run("gated_delta_rule", inputs, None)


def test_unknown_forms_and_chunk_sizes_are_refused():
    inputs, _ = draw("delta_rule", b=1, t=2, h=1, k=2, v=2, channelwise=False, seed=0)
    with pytest.raises(ValueError, match="no form 'parallel'"):
        run("delta_rule", inputs, None, form="parallel")
    with pytest.raises(ValueError, match="chunk_size must be an integer of at least 1"):
        run("delta_rule", inputs, None, chunk_size=0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["chunk", "recurrent"])
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_a_single_bad_token_spoils_what_it_makes(rule, form, name):
    x = {n: torch.randn(2, 1, 2, 3) for n in ("q", "k", "v")}
    x[name][0, 0, 0, 1] = torch.nan
    out, state = getattr(ops, rule)(**x, form=form)
    assert out[0, 0, 0].isnan().all()
    assert state[0, 0].isnan().all() == (name != "q")
    for rest in (out[0, 0, 1], out[1], state[0, 1], state[1]):
        assert torch.isfinite(rest).all()
