"""Softmax, linear, delta and Mamba memories against their equations, and their bookkeeping."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from memx import ops
from memx.errors import RecipeError
from memx.memory import Shape, Tokens, mamba, memories

B, T, OBJECTS, N, K, V = 2, 5, 2, 3, 4, 6
FACTS = {"key_dim": K, "value_dim": V}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clip(reset=None, frames=T):
    return Tokens(
        normal(B, frames, N, K), normal(B, frames, N, K, seed=1), normal(B, frames, OBJECTS, N, V, seed=2), None, reset
    )


def attended(tokens, b, t, frames):
    keys = torch.cat([tokens.key[b, f] for f in frames])
    values = torch.cat([tokens.value[b, f] for f in frames], dim=1)
    weights = (tokens.query[b, t] @ keys.T * K**-0.5).softmax(-1)
    return weights @ values


@pytest.mark.parametrize("form", ["parallel", "recurrent"])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]),
        ({"capacity": 2}, [[0], [0, 1], [1, 2], [2, 3], [3, 4]]),
        ({"capacity": 2, "keep_first": True}, [[0], [0, 1], [0, 2], [0, 3], [0, 4]]),
        ({"every": 2}, [[0], [0], [0, 2], [0, 2], [0, 2, 4]]),
        ({"every": 2, "capacity": 2}, [[0], [0], [0, 2], [0, 2], [2, 4]]),
        ({"capacity": 1, "keep_first": True}, [[0]] * 5),
    ],
)
def test_softmax_keeps_the_frames_that_its_options_say(form, options, kept):
    mem, tokens = memories.build("softmax", FACTS, **options), clip()
    out, state = mem.scan(tokens, form=form)
    for b in range(B):
        for t in range(T):
            assert torch.allclose(out[b, t], attended(tokens, b, t, kept[t]), atol=1e-12)
    assert state.key.shape == (B, len(kept[-1]), N, K)
    assert torch.equal(state.key, tokens.key[:, kept[-1]])
    assert torch.equal(state.value, tokens.value[:, kept[-1]].transpose(1, 2))
    assert state.count.tolist() == [T] * B


@pytest.mark.parametrize("form", ["parallel", "recurrent"])
def test_softmax_counts_every_item_from_its_own_reset(form):
    reset = torch.zeros(B, T, dtype=torch.bool)
    reset[1, 3] = True
    mem, tokens = memories.build("softmax", FACTS, every=2), clip(reset)
    out, state = mem.scan(tokens, form=form)
    assert torch.allclose(out[0, 4], attended(tokens, 0, 4, [0, 2, 4]), atol=1e-12)
    assert torch.allclose(out[1, 4], attended(tokens, 1, 4, [3]), atol=1e-12)
    assert state.valid.tolist() == [[True] * 3, [False, False, True]]
    assert state.count.tolist() == [5, 2]


def test_an_empty_softmax_memory_reads_zeros_and_a_frame_of_another_size_is_refused():
    mem, tokens = memories.build("softmax", FACTS), clip()
    empty = mem.init_state(B, OBJECTS, dtype=torch.float64)
    assert torch.equal(mem.read(empty, tokens.frame(0)), torch.zeros(B, OBJECTS, N, V).double())
    _, state = mem.scan(tokens)
    smaller = tokens.map(lambda x: x[..., :2, :])
    for form in mem.forms:
        with pytest.raises(ValueError, match="holds frames of 3 tokens and cannot take one of 2"):
            mem.scan(smaller, state, form=form)


@pytest.mark.parametrize("name", ["softmax", "elu", "relu"])
def test_normalised_linear_memory_is_a_weighted_mean(name):
    mem, tokens = memories.build("linear", FACTS, feature_map=name, normalize=True), clip()
    phi = {
        "softmax": lambda x: x.softmax(-1),
        "elu": lambda x: torch.nn.functional.elu(x) + 1,
        "relu": torch.relu,
    }[name]
    for form in mem.forms:
        out, state = mem.scan(tokens, form=form)
        for t in range(T):
            keys = phi(tokens.key[:, : t + 1]).flatten(1, 2)
            values = tokens.value[:, : t + 1].transpose(1, 2).flatten(2, 3)
            weights = phi(tokens.query[:, t]) @ keys.mT
            total = weights.sum(-1, keepdim=True)
            mean = torch.where(total == 0, 0.0, weights / total)[:, None] @ values
            assert torch.allclose(out[:, t], mean, atol=1e-10)
        assert torch.allclose(state.z, phi(tokens.key).sum((1, 2)), atol=1e-12)
    empty = mem.init_state(B, OBJECTS, dtype=torch.float64)
    assert torch.equal(mem.read(empty, tokens.frame(0)), torch.zeros(B, OBJECTS, N, V).double())


def test_linear_refuses_to_normalise_by_a_map_of_any_sign():
    with pytest.raises(RecipeError, match="not negative"):
        memories.build("linear", FACTS, feature_map="identity", normalize=True)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_delta_token_by_token_is_the_delta_rule_over_all_tokens(form):
    mem, tokens = memories.build("delta", FACTS, beta=0.7), clip()
    _, state = mem.scan(tokens, form=form)
    key = torch.nn.functional.normalize(tokens.key, dim=-1).flatten(1, 2).unsqueeze(2)
    beta = torch.full(key.shape[:3], 0.7).double()
    for o in range(OBJECTS):
        value = tokens.value[:, :, o].flatten(1, 2).unsqueeze(2)
        _, want = ops.delta_rule(key, key, value, beta=beta, form="recurrent")
        assert torch.allclose(state.S[:, o], want[:, 0], atol=1e-12)


@pytest.mark.parametrize("write", ["joint", "tokens"])
def test_orthonormal_keys_make_delta_and_linear_agree_and_recall_their_values(write):
    basis = torch.linalg.qr(normal(8, 8, seed=4))[0][:6].view(1, 2, 3, 8).expand(B, -1, -1, -1)
    tokens = Tokens(basis, basis, normal(B, 2, OBJECTS, 3, V))
    facts = {"key_dim": 8, "value_dim": V}
    delta = memories.build("delta", facts, write=write, key_norm="none")
    linear = memories.build("linear", facts, feature_map="identity")
    for form in delta.forms:
        out, state = delta.scan(tokens, form=form)
        assert torch.allclose(state.S, linear.scan(tokens)[1].S, atol=1e-12)
        assert torch.allclose(out, tokens.value, atol=1e-12)


def test_delta_needs_features_for_a_learned_beta_and_bounds_a_fixed_one():
    with pytest.raises(RecipeError, match="beta: token needs token features"):
        memories.build("delta", FACTS, beta="token")
    with pytest.raises(RecipeError, match="less than or equal to 2"):
        memories.build("delta", FACTS, beta=2.5)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_mamba_is_the_selective_scan_over_all_tokens(form):
    torch.manual_seed(0)
    mem, tokens = memories.build("mamba", FACTS, state_dim=3).double(), clip()
    _, state = mem.scan(tokens, form=form)
    B_map, C_map = mem.B_proj(tokens.key).flatten(1, 2), mem.C_proj(tokens.query)
    for o in range(OBJECTS):
        x = tokens.value[:, :, o].flatten(1, 2)
        dt = torch.nn.functional.softplus(mem.step_up(mem.step_down(x)))
        _, want = ops.selective_scan(x, dt, -mem.A_log.exp(), B_map, C_map.flatten(1, 2), form="recurrent")
        assert torch.allclose(state.S[:, o], want, atol=1e-12)
    out, _ = mem.scan(tokens, form=form)
    last = C_map[:, -1][:, None] @ state.S + mem.D * tokens.value[:, -1]
    assert torch.allclose(out[:, -1], last, atol=1e-12)


def test_softmax_keeps_a_first_frame_only_with_a_capacity():
    with pytest.raises(RecipeError, match="keep_first: true needs a capacity"):
        memories.build("softmax", FACTS, keep_first=True)


def test_delta_normalises_only_a_joint_erase():
    with pytest.raises(RecipeError, match="normalize: spectral divides the joint erase: it needs write: joint"):
        memories.build("delta", FACTS, normalize="spectral")
    memories.build("delta", FACTS, normalize="spectral", write="joint")


def test_a_frame_that_softmax_does_not_keep_spoils_a_scan_but_not_a_step():
    """`scan` promises NaN after a bad frame whatever the mechanism; `step` is the mechanism, which forgot it."""
    mem, tokens = memories.build("softmax", FACTS, every=2), clip()
    tokens.value[:, 1] = float("nan")
    for form in mem.forms:
        out, _ = mem.scan(tokens, form=form)
        assert torch.isfinite(out[:, :1]).all()
        assert out[:, 1:].isnan().all()
    state = mem.init_state(B, OBJECTS, dtype=torch.float64)
    for frame in tokens.frames():
        out, state = mem.step(state, frame)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("level", [100.0, 1e4, float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mamba_with_rates_of_infinity_is_finite(level, dtype):
    mem = memories.build("mamba", FACTS, state_dim=3).to(dtype)
    with torch.no_grad():
        mem.A_log.fill_(level)
    for form in mem.forms:
        mem.zero_grad()
        out, final = mem.scan(clip().map(lambda x: x.to(dtype)), form=form)
        (out.sum() + final.S.sum()).backward()
        assert all(torch.isfinite(x).all() for x in (out, final.S, *(p.grad for p in mem.parameters())))


class Largest(TorchDispatchMode):
    """Notes the most entries that any tensor had."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor):
                self.entries = max(self.entries, x.numel())
        return out


def test_mamba_takes_a_long_clip_in_parts(monkeypatch):
    mem = memories.build("mamba", FACTS, state_dim=16).double()
    whole, final = mem.scan(clip())
    monkeypatch.setattr(mamba, "_ENTRIES", 2 * B * OBJECTS * N * 16 * V)
    parts, state = mem.scan(clip())
    assert torch.equal(whole, parts)
    assert torch.equal(final.S, state.S)
    largest = {}
    for frames in (2, 8):
        with torch.no_grad(), Largest() as largest[frames]:
            mem.scan(clip(frames=frames))
    assert largest[2].entries == largest[8].entries


def test_inverses_and_eigenvalues_are_part_of_the_cost():
    """By hand: 40 tokens are two chunks of 32, each with two blocks of 16 that are inverted by substitution."""
    shape = Shape(batch=2, frames=3, objects=2, tokens=40)
    chunk = 2 * (16 * (16**2 - 1) // 6)
    tokens = memories.build("delta", FACTS).cost(shape)
    assert tokens.uncounted_macs == 2 * 3 * 2 * chunk
    assert tokens.flops == 2 * (tokens.macs + tokens.uncounted_macs) + tokens.pointwise
    facts = {**FACTS, "feature_dim": 5}
    by_state = memories.build("gated_delta", facts, heads=3, write="tokens").cost(shape)
    assert by_state.uncounted_macs == 2 * 3 * (2 * 3) * 2 * chunk
    by_token = memories.build("gated_delta", facts, heads=3, write="tokens", gates="token").cost(shape)
    assert by_token.uncounted_macs == 2 * 3 * 3 * 2 * chunk
    spectral = [
        memories.build("delta", FACTS, write="joint", normalize="spectral"),
        memories.build("gated_delta", facts, heads=3, normalize="spectral"),
        memories.build("gated_delta", facts, heads=3, normalize="spectral", gates="token"),
    ]
    assert [memory.cost(shape).uncounted_macs for memory in spectral] == [2 * 3 * 43] * 3  # 2 · 4³ / 3 a frame
    for name, options in (("linear", {}), ("softmax", {}), ("mamba", {}), ("gated_delta", {"heads": 3})):
        assert memories.build(name, facts, **options).cost(shape).uncounted_macs == 0


def test_tokens_of_wrong_shapes_are_refused_by_name():
    mem, tokens = memories.build("linear", FACTS), clip()
    with pytest.raises(ValueError, match=r"query must be \(b, t, n, k\) with n = 3 as in key"):
        mem.scan(tokens.replace(query=normal(B, T, 2, K)))
    with pytest.raises(ValueError, match=r"value must be \(b, t, o, n, v\), but has 4 axes"):
        mem.scan(tokens.replace(value=normal(B, T, N, V)))
    with pytest.raises(ValueError, match="LinearMemory has no form 'parallel'"):
        mem.scan(tokens, form="parallel")
