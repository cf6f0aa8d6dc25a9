"""Limits of the gated and the plain delta memory, drawn: no decay, no write, orthonormal keys, a value read back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.memory import State, Tokens, memories

SETTINGS = settings(deadline=None, max_examples=20, derandomize=True, database=None)
KINDS = [
    {"gates": "state", "write": "joint"},
    {"gates": "state", "write": "tokens"},
    {"gates": "token", "write": "joint"},
    {"gates": "token", "write": "tokens"},
    {"gates": "token", "write": "tokens", "decay_per": "token"},
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
FACTS = {"key_dim": 8, "value_dim": 6, "feature_dim": 3}
sizes = {
    "b": st.integers(1, 2),
    "t": st.integers(1, 4),
    "o": st.integers(1, 3),
    "n": st.integers(1, 5),
    "seed": st.integers(0, 999),
    "resets": st.booleans(),
}
heads = st.sampled_from([1, 2, 3])
norms = st.sampled_from(["softmax", "l2", "none"])


def draw_clip(*, b, t, o, n, seed, resets=False):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    key, query, value, feature = normal(b, t, n, 8), normal(b, t, n, 8), normal(b, t, o, n, 6), normal(b, t, n, 3)
    reset = torch.rand(b, t, generator=generator) < 0.3 if resets else None
    return Tokens(key, query, value, feature, reset), State(S=normal(b, o, 8, 6).abs())


def build(name="gated_delta", seed=0, **options):
    torch.manual_seed(seed)
    return memories.build(name, FACTS, **options).double()


def basis(kind, seed):
    """Orthonormal rows (8, 8): any for gates that are one factor a key, else axes, which gates of rows keep apart."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "axes":
        return torch.eye(8, dtype=torch.float64)[torch.randperm(8, generator=generator)]
    return torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0]


def same(got, want):
    torch.testing.assert_close(got[0], want[0], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(got[1].S, want[1].S, atol=1e-9, rtol=1e-9)


@kinds
@SETTINGS
@given(case=st.fixed_dictionaries(sizes), heads=heads, norm=norms, start=st.sampled_from(["write", "gate"]))
def test_alpha_of_one_is_the_ungated_rule(kind, case, heads, norm, start):
    tokens, _ = draw_clip(**case)
    options = {"heads": heads, "key_norm": norm, "start": start}
    gated = build(**kind, **options)
    ungated = build(gates=kind["gates"], write=kind["write"], alpha=False, **options)
    ungated.b_proj.load_state_dict(gated.b_proj.state_dict())
    with torch.no_grad():
        gated.dt_bias.fill_(-math.inf)
    for form in gated.forms:
        same(gated.scan(tokens, form=form), ungated.scan(tokens, form=form))


@kinds
@SETTINGS
@given(case=st.fixed_dictionaries(sizes | {"resets": st.just(False)}), heads=heads, norm=norms)
def test_beta_of_zero_is_pure_decay(kind, case, heads, norm):
    """States and features are positive here, so that weights of −10⁴ close every gate."""
    tokens, state = draw_clip(**case)
    tokens = tokens.replace(feature=tokens.feature.abs() + 0.1)
    mem = build(**kind, heads=heads, key_norm=norm, start="gate")
    with torch.no_grad():
        mem.b_proj.weight.fill_(-1e4)
        mem.A_log.fill_(-3.0)
    S = state.S + 0.1
    want = S
    for frame in tokens.frames():
        if kind["gates"] == "state":
            x = want
        else:
            x = frame.feature.unsqueeze(2)  # (b n 1 c)
        exponent = -math.exp(-3.0) * torch.nn.functional.softplus(x @ mem.a_proj.weight.T + mem.dt_bias)
        if kind["gates"] == "token":
            exponent = exponent.sum(1) if kind.get("decay_per") == "token" else exponent.mean(1)
            exponent = exponent[:, None]
        want = exponent.exp().repeat_interleave(6 // heads, -1) * want
    for form in mem.forms:
        _, final = mem.scan(tokens, State(S=S), form=form)
        torch.testing.assert_close(final.S, want, atol=1e-9, rtol=1e-9)


@kinds
@SETTINGS
@given(
    o=st.integers(1, 3), seed=st.integers(0, 999), heads=heads, gated=st.booleans(), split=st.sampled_from([1, 2, 4])
)
def test_orthonormal_keys_need_no_erase(kind, o, seed, heads, gated, split):
    """With as many tokens as key channels: the delta rules are linear attention, gated or not."""
    tokens, _ = draw_clip(b=2, t=split, o=o, n=8 // split, seed=seed)
    key = basis("axes" if gated else "any", seed).view(1, split, 8 // split, 8).expand(2, -1, -1, -1)
    tokens = tokens.replace(key=key, query=key)
    if gated:
        options = {**kind, "heads": heads, "key_norm": "none"}
        erasing, adding = build(**options), build(erase=False, **options)
        adding.load_state_dict(erasing.state_dict())
        pairs = [(erasing, adding)]
    else:
        linear = build("linear", feature_map="identity")
        ungated = build(write=kind["write"], alpha=False, beta=False, key_norm="none")
        pairs = [(ungated, linear), (build("delta", write=kind["write"], key_norm="none"), linear)]
    for delta, linear in pairs:
        want = linear.scan(tokens)
        for form in delta.forms:
            same(delta.scan(tokens, form=form), want)


@kinds
@SETTINGS
@given(case=st.fixed_dictionaries(sizes), heads=heads)
def test_a_value_written_under_a_unit_key_is_read_back(kind, case, heads):
    """β = 1, switched off or with its gate wide open, whatever the state before and its decay.

    GDKVM's joint write decays what the erase left, row by row: only a key that is one row stays erased under it.
    """
    tokens, state = draw_clip(**case)
    rows = "axes" if kind == {"gates": "state", "write": "joint"} else "any"
    frames = [basis(rows, case["seed"] + t)[: case["n"]] for t in range(case["t"])]
    key = torch.stack(frames).expand(case["b"], -1, -1, -1)
    tokens = tokens.replace(key=key, query=key)
    if kind.get("decay_per") == "token":  # a token's decay falls on those of its frame before it: one token a frame
        tokens = Tokens(
            *(x[..., :1, :] for x in (tokens.key, tokens.query, tokens.value, tokens.feature)), tokens.reset
        )
    mems = [build(**kind, heads=heads, key_norm="l2", start="gate", beta=False)]
    if kind["gates"] == "token":
        mems.append(build(**kind, heads=heads, key_norm="l2", start="gate"))
        with torch.no_grad():
            mems[-1].b_proj.weight.fill_(1e4)
        tokens = tokens.replace(feature=tokens.feature.abs() + 0.1)
    mems.append(build("delta", write=kind["write"], key_norm="l2"))
    for mem in mems:
        for form in mem.forms:
            out, _ = mem.scan(tokens, state, form=form)
            torch.testing.assert_close(out, tokens.value, atol=1e-9, rtol=1e-9)
