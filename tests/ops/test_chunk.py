"""The chunk form beneath the rules: general rank-one steps, states at the ends of frames, block inverses."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from memx.ops import chunk_layout, rank_one
from memx.ops.triangular import inverse_macs, unit_lower_inverse

EXTREMES = [-20.0, -100.0, -1e4, float("-inf")]
NAMES = ("query", "erase", "write", "value", "log_decay", "state")


def drawn(b, t, h, k, v, *, channelwise, erases, reads, decays, resets, erase_first, seed):
    """Steps whose erase and write keys differ, gates at their extremes among them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    g = None
    if decays:
        g = -torch.rand((b, t, h, k) if channelwise else (b, t, h), generator=generator, dtype=torch.float64)
        for extreme in EXTREMES:
            g = g.masked_fill(torch.rand(g.shape, generator=generator) < 0.05, extreme)
    return rank_one.Steps(
        query=normal(b, t, h, k) if reads else None,
        erase=0.3 * normal(b, t, h, k) if erases else None,
        write=0.3 * normal(b, t, h, k),
        value=normal(b, t, h, v),
        log_decay=g,
        reset=torch.rand(b, t, generator=generator) < 0.2 if resets else None,
        state=normal(b, h, k, v),
        erase_first=erase_first,
    )


def outcome(steps, run):
    """What `run` gives for the steps, and every gradient of a fixed linear functional of it."""
    leaves = {n: x.detach().clone().requires_grad_() for n in NAMES if (x := getattr(steps, n)) is not None}
    rest = dict.fromkeys(n for n in NAMES if n not in leaves)
    results = run(rank_one.Steps(**leaves, **rest, reset=steps.reset, erase_first=steps.erase_first))
    results = [x for x in results if x is not None]
    generator = torch.Generator().manual_seed(1)
    loss = sum((x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum() for x in results)
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    named = dict(enumerate(x.detach() for x in results))
    return named | {
        n: torch.zeros_like(x) if g is None else g for (n, x), g in zip(leaves.items(), gradients, strict=True)
    }


def agree(got, want, tolerance=1e-10):
    for name, expected in want.items():
        assert torch.isfinite(expected).all()
        assert got[name].shape == expected.shape
        if expected.numel():
            assert (got[name] - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item()), name


general = st.fixed_dictionaries(
    {
        "b": st.integers(1, 2),
        "t": st.sampled_from([1, 2, 7, 16, 19]),
        "h": st.integers(1, 2),
        "k": st.sampled_from([1, 3]),
        "v": st.sampled_from([1, 4]),
        "channelwise": st.booleans(),
        "erases": st.booleans(),
        "reads": st.booleans(),
        "decays": st.booleans(),
        "resets": st.booleans(),
        "erase_first": st.booleans(),
        "seed": st.integers(0, 999),
    }
)


slabs = st.sampled_from([1, 24, 200, chunk_layout.SLAB])
"""From a chunk at a time to everything at once, at the sizes drawn here."""


@settings(deadline=None, max_examples=160, database=None)
@given(case=general, size=st.sampled_from([None, 1, 2, 3, 5, 16, 64]), slab=slabs)
def test_chunks_are_the_recurrence_with_every_gradient(case, size, slab):
    steps = drawn(**case)
    with patch.object(chunk_layout, "SLAB", slab):
        got = outcome(steps, lambda s: rank_one.chunked(s, size))
    agree(got, outcome(steps, rank_one.recurrent))


@settings(deadline=None, max_examples=100, database=None)
@given(case=general, frames=st.integers(1, 5), size=st.sampled_from([None, 1, 3, 8]), slab=slabs)
def test_frame_states_are_the_states_at_the_ends_of_frames(case, frames, size, slab):
    tokens = case["t"]
    steps = drawn(**case | {"t": frames * tokens, "reads": False})

    def one_after_another(s):
        states, S = [], s.state
        for i in range(frames):
            part = slice(i * tokens, (i + 1) * tokens)
            cut = {n: None if (x := getattr(s, n)) is None else x[:, part] for n in (*NAMES[:5], "reset")}
            S = rank_one.recurrent(rank_one.Steps(**cut, state=S, erase_first=s.erase_first))[1]
            states.append(S)
        return [torch.stack(states, dim=1)]

    with patch.object(chunk_layout, "SLAB", slab):
        got = outcome(steps, lambda s: [rank_one.frame_states(s, tokens, size)])
    agree(got, outcome(steps, one_after_another))


def test_no_frames_have_no_states():
    steps = drawn(
        2, 0, 1, 3, 4, channelwise=False, erases=True, reads=False, decays=True, resets=True, erase_first=False, seed=0
    )
    assert rank_one.frame_states(steps, 5).shape == (2, 0, 1, 3, 4)


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize("erase_first", [False, True])
def test_steps_are_the_equation(channelwise, erase_first):
    steps = drawn(
        1,
        6,
        1,
        3,
        4,
        channelwise=channelwise,
        erases=True,
        reads=True,
        decays=True,
        resets=True,
        erase_first=erase_first,
        seed=4,
    )
    S, outputs = steps.state[0, 0], []
    for t in range(6):
        S = torch.zeros_like(S) if steps.reset[0, t] else S
        g = steps.log_decay[0, t, 0]
        faded = torch.diag((g if channelwise else g.expand(3)).exp()) @ S
        u = steps.value[0, t, 0] - (S if erase_first else faded).T @ steps.erase[0, t, 0]
        S = faded + torch.outer(steps.write[0, t, 0], u)
        outputs.append(S.T @ steps.query[0, t, 0])
    for run in (rank_one.recurrent, rank_one.chunked):
        out, final = run(steps)
        assert torch.allclose(out[0, :, 0], torch.stack(outputs), atol=1e-12)
        assert torch.allclose(final[0, 0], S, atol=1e-12)


@pytest.mark.parametrize("c", [1, 2, 7, 16, 32, 48, 64, 128])
def test_block_inverse(c):
    A = torch.randn(3, c, c, generator=torch.Generator().manual_seed(c), dtype=torch.float64) / c**0.5
    T = unit_lower_inverse(A)
    eye = torch.eye(c, dtype=A.dtype)
    assert torch.allclose(T @ (eye + A.tril(-1)), eye.expand(3, c, c), atol=1e-10)
    assert not T.triu(1).any()
    with FlopCounterMode(display=False) as counter:
        unit_lower_inverse(A)
    assert counter.get_total_flops() == 2 * 3 * inverse_macs(c)[0]


def test_block_inverse_of_equal_keys_keeps_its_digits():
    """Of equal keys: powers of A reach 10¹⁸ at 64 tokens, while the inverse has entries 0 and ±1."""
    T = unit_lower_inverse(torch.ones(1, 64, 64))
    want = torch.eye(64) - torch.diag(torch.ones(63), -1)
    assert torch.equal(T[0], want)


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize("t", [1, 16, 40, 70])
def test_macs_are_what_is_counted(erase, channelwise, t):
    case = {"channelwise": channelwise, "decays": True, "resets": False, "erase_first": False, "seed": 0}
    steps = drawn(1, t, 2, 8, 6, erases=erase, reads=False, **case)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        rank_one.chunked(steps)
    counted, uncounted = rank_one.state_macs(t, 2, 8, 6, erase=erase, channelwise=channelwise)
    assert counter.get_total_flops() == 2 * counted
    assert (uncounted > 0) == (erase and t > 1)


@settings(deadline=None, max_examples=100, database=None)
@given(
    per=st.integers(1, 9),
    periods=st.integers(1, 6),
    size=st.integers(1, 9),
    slab=st.sampled_from([1, 8, 20, 100]),
)
def test_slabs_cover_time_once_in_whole_periods_or_parts_of_one(per, periods, size, slab):
    layout = chunk_layout.Layout(b=1, t=per * periods, h=1, size=min(size, per), period=per)
    with patch.object(chunk_layout, "SLAB", slab):
        spans = list(layout.slabs(channels=2))
    assert [i for span, _ in spans for i in range(span.start, span.stop)] == list(range(layout.t))
    for span, part in spans:
        assert part.t == span.stop - span.start
        whole = part.t % per == 0 and span.start % per == 0
        assert whole or span.start // per == (span.stop - 1) // per
        assert span.stop % per == 0 or part.t % part.size == 0
        assert part.chunks == 1 or 2 * part.chunks * part.size <= slab


def test_a_decay_keeps_its_digits_beside_a_boundary():
    """Gradients to the exponents are sums over what crosses a token, never differences of sums over everything."""
    t, at = 64, 25
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, t, 1, 8, generator=generator) for _ in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    g = -torch.rand(1, t, 1, generator=generator)
    g[:, at] = -1e4
    weights = torch.ones(1, t, 1, 1)
    weights[:, :at] = 1e6  # what lies before the boundary weighs much, and is nothing to what comes after

    def slope(dtype, run):
        leaf = g.to(dtype).requires_grad_()
        q_, k_, v_ = q.to(dtype), k.to(dtype), v.to(dtype)
        steps = rank_one.Steps(q_, k_, 0.5 * k_, v_, leaf, None, torch.zeros(1, 1, 8, 8, dtype=dtype))
        return torch.autograd.grad((weights.to(dtype) * run(steps)[0]).sum(), leaf)[0]

    want = slope(torch.float64, rank_one.recurrent)[:, at + 1 :]
    got = slope(torch.float32, rank_one.chunked)[:, at + 1 :]
    assert ((got - want).abs().max() / want.abs().max()).item() < 1e-5
