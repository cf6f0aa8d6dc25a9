"""The test-time-trained memory: its inner gradient is autograd's, its step the equation's, its start is learned."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from memx.errors import RecipeError
from memx.memory import State, Tokens, memories

B, T, OBJECTS, N, K, V, C = 2, 3, 2, 5, 4, 12, 3
FACTS = {"key_dim": K, "value_dim": V, "feature_dim": C}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clip(seed=0, reset=None):
    key, query, feature = (normal(B, T, N, size, seed=seed + i) for i, size in enumerate((K, K, C)))
    return Tokens(key, query, normal(B, T, OBJECTS, N, V, seed=seed + 3), feature, reset)


def build(seed=0, **options):
    torch.manual_seed(seed)
    memory = memories.build("ttt", FACTS, **options).double()
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return memory


def inner(memory, S, c, x):
    """f(x) of one item and object, with torch's own layer norm on every head: S (k v), c (v), x (n k)."""
    width = V // memory.heads
    z = (x @ S + c).unflatten(-1, (memory.heads, width))
    normed = F.layer_norm(z, (width,), eps=1e-6).flatten(-2)
    return normed * memory.norm_weight + memory.norm_bias


def rates(memory, feature):
    """η of every token and value channel, (n v)."""
    gate = memory.rate_proj(feature).sigmoid() if memory.feature_dim else memory.rate_bias.sigmoid().expand(N, -1)
    return (memory.lr / N * gate).repeat_interleave(V // memory.heads, -1)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_the_gradient_is_that_of_the_inner_loss(heads):
    memory = build(heads=heads)
    z, value = normal(B, OBJECTS, N, V, seed=4).requires_grad_(), normal(B, OBJECTS, N, V, seed=5)
    normed = F.layer_norm(z.unflatten(-1, (heads, -1)), (V // heads,), eps=1e-6).flatten(-2)
    loss = (normed * memory.norm_weight + memory.norm_bias - value).square().sum() / 2
    (want,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(memory.gradient(z, value), want, atol=1e-12, rtol=1e-12)


@settings(deadline=None, max_examples=15)
@given(
    heads=st.sampled_from([1, 2, 3, 4]),
    lr=st.floats(0.1, 4),
    rate=st.sampled_from(["token", "head"]),
    key_norm=st.sampled_from(["l2", "softmax", "none"]),
    seed=st.integers(0, 99),
)
def test_a_frame_is_one_step_of_gradient_descent_on_the_weighted_inner_loss(heads, lr, rate, key_norm, seed):
    """Frame by frame: the gradient of Σ_n η_n ½ |f(k_n) − v_n|², by autograd, is what the state goes down.

    With a rate of every head, the loss of each head is weighted by its own: the layer norm keeps heads apart.
    """
    memory, tokens = build(seed, heads=heads, lr=lr, rate=rate, key_norm=key_norm), clip(seed)
    maps = {"l2": lambda x: x / x.norm(dim=-1, keepdim=True), "softmax": lambda x: x.softmax(-1), "none": lambda x: x}
    out, final = memory.scan(tokens)
    for b in range(B):
        for o in range(OBJECTS):
            S, c = memory.S_start.detach(), memory.c_start.detach()
            for t in range(T):
                S, c = S.requires_grad_(), c.requires_grad_()
                error = inner(memory, S, c, maps[key_norm](tokens.key[b, t])) - tokens.value[b, t, o]
                loss = (rates(memory, tokens.feature[b, t]).detach() * error.square()).sum() / 2
                down = torch.autograd.grad(loss, (S, c))
                S, c = (S - down[0]).detach(), (c - down[1]).detach()
                want = inner(memory, S, c, maps[key_norm](tokens.query[b, t]))
                torch.testing.assert_close(out[b, t, o], want, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(final.S[b, o], S, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(final.c[b, o], c, atol=1e-9, rtol=1e-9)


def test_without_the_norm_it_would_be_the_joint_delta_write():
    """Where f is linear, and c does not move: its gradient is the delta memory's erase and write, strengths η."""
    tokens = clip()
    delta = memories.build("delta", FACTS, write="joint", beta=0.7 / N)
    state = State(S=normal(B, OBJECTS, K, V, seed=6).requires_grad_())
    frame = tokens.frame(0)
    key = F.normalize(frame.key, dim=-1)
    loss = 0.7 / N * (key.unsqueeze(1) @ state.S - frame.value).square().sum() / 2
    (down,) = torch.autograd.grad(loss, state.S)
    torch.testing.assert_close(delta.write(state, frame).S, state.S - down, atol=1e-12, rtol=1e-12)


def test_the_start_is_learned_and_a_reset_goes_back_to_it():
    memory, tokens = build(), clip()
    state = memory.init_state(B, OBJECTS, dtype=torch.float64)
    assert torch.equal(state.S, memory.S_start.expand(B, OBJECTS, -1, -1))
    assert torch.equal(state.c, memory.c_start.expand(B, OBJECTS, -1))
    reset = torch.zeros(B, T, dtype=torch.bool)
    reset[:, 1] = True
    out, _ = memory.scan(tokens.replace(reset=reset), State(S=7 * state.S.detach(), c=state.c.detach()))
    alone, _ = memory.scan(tokens.slice(1, T))
    torch.testing.assert_close(out[:, 1:], alone, atol=1e-12, rtol=1e-12)
    starts = (memory.S_start, memory.c_start)
    got = torch.autograd.grad(out[:, 1:].square().sum(), starts)
    want = torch.autograd.grad(alone.square().sum(), starts)
    for a, b in zip(got, want, strict=True):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_training_on_a_frame_lowers_its_inner_loss():
    memory, tokens = build(lr=0.5, rate="head"), clip()
    frame = tokens.frame(0).replace(query=tokens.key[:, 0])
    state = memory.init_state(B, OBJECTS, dtype=torch.float64)
    losses = []
    for _ in range(20):
        losses.append((memory.read(state, frame) - frame.value).square().sum().item())
        state = memory.write(state, frame)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("lr", [1.0, 1e3])
def test_a_frame_moves_the_state_by_no_more_than_its_bound(lr):
    """|ΔS| ≤ lr · max |k_n| |γ|_∞ |f − v| / √ε, whatever S is: even where a head's z is constant."""
    memory, tokens = build(lr=lr), clip()
    frame = tokens.frame(0)
    for scale in (0.0, 1e-6, 1.0, 1e6):
        state = State(S=scale * normal(B, OBJECTS, K, V), c=torch.ones(B, OBJECTS, V, dtype=torch.float64))
        error = memory.read(state, frame.replace(query=frame.key)) - frame.value
        bound = lr * memory.norm_weight.abs().max() * error.norm(dim=-1).max() / 1e-3
        moved = (memory.write(state, frame).S - state.S).flatten(2).norm(dim=-1)
        assert 0 < moved.max() <= bound


def test_what_cannot_be_built_is_refused_with_the_reason():
    with pytest.raises(RecipeError, match="rate: token needs token features"):
        memories.build("ttt", {"key_dim": K, "value_dim": V})
    memories.build("ttt", {"key_dim": K, "value_dim": V}, rate="head")
    for heads in (5, 12):
        with pytest.raises(RecipeError, match=f"groups of at least 2.*; {heads} heads do not divide 12 so"):
            memories.build("ttt", FACTS, heads=heads)
    with pytest.raises(ValueError, match=r"rate: token reads Tokens\.feature, which is None"):
        build().scan(clip().replace(feature=None))
    with pytest.raises(ValueError, match="the gradient of a frame is taken at the state before it"):
        build().scan(clip(), form="chunk")
