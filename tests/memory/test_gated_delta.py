"""GDKVM's memory against its equations written out, its options, and its limits."""

from __future__ import annotations

import pytest
import torch

from memx import ops
from memx.errors import RecipeError
from memx.memory import GatedDeltaMemory, Tokens, memories

B, T, OBJECTS, N, K, V, C, HEADS = 2, 4, 2, 5, 4, 6, 3, 2


def clip(seed=0, reset=None, frames=T):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    key = normal(B, frames, N, K)
    return Tokens(key, normal(B, frames, N, K), normal(B, frames, OBJECTS, N, V), normal(B, frames, N, C), reset)


def memory(**options):
    torch.manual_seed(1)
    gated = options.get("alpha", True) or options.get("beta", True)
    return GatedDeltaMemory(K, V, C, **({"heads": HEADS} if gated else {}), **options).double()


def states(mem, tokens):
    state = mem.init_state(B, OBJECTS, dtype=torch.float64)
    for frame in tokens.frames():
        state = mem.write(state, frame)
        yield state.S


@pytest.mark.parametrize("decay", ["exp", "raw"])
@pytest.mark.parametrize("layout", ["interleaved", "tiled"])
@pytest.mark.parametrize("normalize", ["none", "tokens"])
def test_state_gates_are_the_equations_of_gdkvm(decay, layout, normalize):
    mem, tokens = memory(decay=decay, alpha_layout=layout, normalize=normalize), clip()
    beta_head = [c // (V // HEADS) for c in range(V)]
    alpha_head = beta_head if layout == "interleaved" else [c % HEADS for c in range(V)]
    got = list(states(mem, tokens))
    out, _ = mem.scan(tokens)
    for b in range(B):
        for o in range(OBJECTS):
            S = None
            for t in range(T):
                k, v = tokens.key[b, t].softmax(-1), tokens.value[b, t, o]
                if S is None:
                    S = k.T @ v
                else:
                    beta = (S @ mem.b_proj.weight.T).sigmoid()[:, beta_head]
                    step = torch.nn.functional.softplus(S @ mem.a_proj.weight.T + mem.dt_bias)
                    a = (-mem.A_log.exp() * step)[:, alpha_head]
                    alpha = a.exp() if decay == "exp" else a
                    G = k.T @ k / (N if normalize == "tokens" else 1)
                    S = alpha * (S - beta * (G @ S)) + beta * (k.T @ v)
                assert torch.allclose(got[t][b, o], S, atol=1e-12)
                assert torch.allclose(out[b, t, o], tokens.query[b, t].softmax(-1) @ S, atol=1e-12)


def test_parameters_map_one_to_one_on_the_release():
    torch.manual_seed(0)
    mem = GatedDeltaMemory(64, 256)
    shapes = {name: tuple(p.shape) for name, p in mem.named_parameters()}
    assert shapes == {"A_log": (8,), "dt_bias": (8,), "a_proj.weight": (8, 256), "b_proj.weight": (8, 256)}
    assert sum(p.numel() for p in mem.parameters()) == 2 * 2048 + 16


def test_state_gated_tokens_are_written_one_after_another():
    mem, tokens = memory(write="tokens", key_norm="l2"), clip()
    got = list(states(mem, tokens))
    width = V // HEADS
    for b in range(B):
        for o in range(OBJECTS):
            k = torch.nn.functional.normalize(tokens.key[b], dim=-1)
            S = k[0].T @ tokens.value[b, 0, o]
            for t in range(1, T):
                beta = (S @ mem.b_proj.weight.T).sigmoid().repeat_interleave(width, -1)
                step = torch.nn.functional.softplus(S @ mem.a_proj.weight.T + mem.dt_bias)
                S = (-mem.A_log.exp() * step).exp().repeat_interleave(width, -1) * S
                for n in range(N):
                    S = S + beta * torch.outer(k[t, n], tokens.value[b, t, o, n] - S.T @ k[t, n])
                assert torch.allclose(got[t][b, o], S, atol=1e-12)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_token_gated_tokens_are_the_gated_delta_rule(form):
    """One head, one token a frame: the memory is memx.ops.gated_delta_rule on the sequence of frames."""
    torch.manual_seed(1)
    mem = GatedDeltaMemory(K, V, C, gates="token", write="tokens", key_norm="l2", start="gate", heads=1).double()
    tokens = clip()
    tokens = tokens.map(lambda x: x[..., :1, :])
    out, final = mem.scan(tokens, form=form)
    step = torch.nn.functional.softplus(tokens.feature @ mem.a_proj.weight.T + mem.dt_bias)
    key, query = (torch.nn.functional.normalize(x, dim=-1) for x in (tokens.key, tokens.query))
    for o in range(OBJECTS):
        want, state = ops.gated_delta_rule(
            query,
            key,
            tokens.value[:, :, o],
            log_decay=(-mem.A_log.exp() * step)[:, :, 0],
            beta=(tokens.feature @ mem.b_proj.weight.T).sigmoid()[:, :, 0],
            scale=1.0,
        )
        assert torch.allclose(out[:, :, o], want, atol=1e-12)
        assert torch.allclose(final.S[:, o], state[:, 0], atol=1e-12)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("decay_per", ["token", "frame"])
def test_tokens_that_decay_one_by_one_are_the_gated_delta_rule_over_all_tokens(form, erase, decay_per):
    """Heads over the value channels; without erase, linear attention with a decay. Once a frame is another rule."""
    options = {"gates": "token", "write": "tokens", "key_norm": "l2", "start": "gate", "erase": erase}
    mem, tokens, width = memory(decay_per=decay_per, **options), clip(), V // HEADS
    before = torch.randn(B, OBJECTS, K, V, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    _, final = mem.scan(tokens, mem.init_state(B, OBJECTS).replace(S=before), form=form)

    def all_tokens(x):
        return x.flatten(1, 2)

    key = all_tokens(torch.nn.functional.normalize(tokens.key, dim=-1)).unsqueeze(2).expand(-1, -1, HEADS, -1)
    step = torch.nn.functional.softplus(tokens.feature @ mem.a_proj.weight.T + mem.dt_bias)
    log_decay = all_tokens(-mem.A_log.exp() * step)
    beta = all_tokens((tokens.feature @ mem.b_proj.weight.T).sigmoid())
    for o in range(OBJECTS):
        value = all_tokens(tokens.value[:, :, o]).unflatten(-1, (HEADS, width))
        start = before[:, o].unflatten(-1, (HEADS, width)).transpose(1, 2)
        rest = {"log_decay": log_decay, "initial_state": start, "form": "recurrent"}
        if erase:
            _, state = ops.gated_delta_rule(key, key, value, beta=beta, **rest)
        else:
            _, state = ops.linear_attention(key, key, beta.unsqueeze(-1) * value, **rest)
        agree = torch.allclose(final.S[:, o], state.transpose(1, 2).flatten(2), atol=1e-12)
        assert agree == (decay_per == "token")


@pytest.mark.parametrize(
    ("options", "forms"),
    [
        ({"decay": "raw"}, ("recurrent",)),
        ({"alpha_layout": "tiled"}, ("recurrent",)),
        ({"decay": "raw", "alpha_layout": "tiled"}, ("recurrent",)),
        ({}, ("chunk", "recurrent")),
    ],
)
@torch.no_grad()
def test_token_gated_tokens_decay_once_a_frame_in_every_layout(options, forms):
    mem, tokens = memory(gates="token", write="tokens", key_norm="l2", start="gate", **options), clip()
    assert mem.forms == forms
    S = torch.randn(B, OBJECTS, K, V, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    beta_head = [c // (V // HEADS) for c in range(V)]
    alpha_head = [c % HEADS for c in range(V)] if "alpha_layout" in options else beta_head
    want = S.clone()
    key = torch.nn.functional.normalize(tokens.key, dim=-1)
    for t in range(T):
        x = tokens.feature[:, t]
        a = (-mem.A_log.exp() * torch.nn.functional.softplus(x @ mem.a_proj.weight.T + mem.dt_bias)).mean(1)
        want = (a if "decay" in options else a.exp())[:, alpha_head][:, None, None] * want
        beta = (x @ mem.b_proj.weight.T).sigmoid()[..., beta_head]
        for n in range(N):
            k = key[:, t, n, None, :, None]
            u = tokens.value[:, t, :, n, None] - k.mT @ want
            want = want + k * (beta[:, n, None, None] * u)
    for form in forms:
        _, final = mem.scan(tokens, mem.init_state(B, OBJECTS).replace(S=S), form=form)
        assert torch.allclose(final.S, want, atol=1e-12)
    if forms == ("recurrent",):
        with pytest.raises(
            ValueError, match=r"no form 'chunk': with write: tokens .* decay: raw .* alpha_layout: tiled"
        ):
            mem.scan(tokens, form="chunk")


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_a_first_frame_written_plainly_does_not_decay_within_itself(form):
    mem, tokens = memory(gates="token", write="tokens", decay_per="token"), clip(frames=1)
    _, final = mem.scan(tokens, form=form)
    plain = tokens.key[:, 0].softmax(-1)[:, None].mT @ tokens.value[:, 0]
    assert torch.allclose(final.S, plain, atol=1e-12)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
@pytest.mark.parametrize("normalize", ["none", "tokens", "spectral"])
def test_token_gates_written_jointly_are_their_equation(form, normalize):
    mem, tokens = memory(gates="token", normalize=normalize), clip()
    _, final = mem.scan(tokens, form=form)
    width = V // HEADS
    for b in range(B):
        for o in range(OBJECTS):
            S = tokens.key[b, 0].softmax(-1).T @ tokens.value[b, 0, o]
            for t in range(1, T):
                k, x = tokens.key[b, t].softmax(-1), tokens.feature[b, t]
                beta = (x @ mem.b_proj.weight.T).sigmoid()
                step = torch.nn.functional.softplus(x @ mem.a_proj.weight.T + mem.dt_bias)
                alpha = (-mem.A_log.exp() * step).mean(0).exp()
                top = torch.linalg.eigvalsh(k.T @ k)[-1]
                divisor = {"none": 1, "tokens": N, "spectral": top}[normalize]
                new = torch.empty_like(S)
                for h in range(HEADS):
                    part, weighted = slice(h * width, (h + 1) * width), k * beta[:, h, None]
                    kept = S[:, part] - weighted.T @ k / divisor @ S[:, part]
                    new[:, part] = alpha[h] * kept + weighted.T @ tokens.value[b, t, o][:, part]
                S = new
            assert torch.allclose(final.S[b, o], S, atol=1e-12)


def test_the_ablations_of_the_paper_are_options():
    tokens = clip()
    linear = memories.build("linear", {"key_dim": K, "value_dim": V})
    accumulate = memory(alpha=False, beta=False, erase=False)
    assert torch.allclose(accumulate.scan(tokens)[0], linear.scan(tokens)[0], atol=1e-12)
    assert not list(accumulate.parameters())

    replace = memory(alpha=False, beta=False, start="gate")
    delta = memories.build("delta", {"key_dim": K, "value_dim": V}, write="joint", key_norm="softmax")
    assert torch.allclose(replace.scan(tokens)[0], delta.scan(tokens)[0], atol=1e-12)

    assert {name.split(".")[0] for name, _ in memory(alpha=False).named_parameters()} == {"b_proj"}
    alpha_only = memory(beta=False, erase=False)
    assert {name.split(".")[0] for name, _ in alpha_only.named_parameters()} == {"a_proj", "A_log", "dt_bias"}
    first, second, *_ = states(alpha_only, tokens)
    step = torch.nn.functional.softplus(first @ alpha_only.a_proj.weight.T + alpha_only.dt_bias)
    alpha = (-alpha_only.A_log.exp() * step).exp().repeat_interleave(V // HEADS, -1)
    written = tokens.key[:, 1].softmax(-1)[:, None].mT @ tokens.value[:, 1]
    assert torch.allclose(second, alpha * first + written, atol=1e-12)


def test_limits():
    """α → 1 is the ungated memory; β → 0 is pure decay."""
    tokens = clip()
    mem = memory(start="gate")
    with torch.no_grad():
        mem.dt_bias.fill_(-1e4)
    ungated = memory(alpha=False, start="gate")
    ungated.b_proj.load_state_dict(mem.b_proj.state_dict())
    assert torch.allclose(mem.scan(tokens)[0], ungated.scan(tokens)[0], atol=1e-12)

    mem = memory(gates="token", start="gate")
    with torch.no_grad():
        mem.b_proj.weight.fill_(-1e4)
    tokens = tokens.replace(feature=tokens.feature.abs())
    state = mem.init_state(B, OBJECTS, dtype=torch.float64)
    S = torch.randn(state.S.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = torch.nn.functional.softplus(tokens.feature @ mem.a_proj.weight.T + mem.dt_bias)
    decay = (-mem.A_log.exp() * step).mean(2).sum(1).exp().repeat_interleave(V // HEADS, -1)
    for form in ("chunk", "recurrent"):
        _, final = mem.scan(tokens, state.replace(S=S), form=form)
        assert torch.allclose(final.S, decay[:, None, None] * S, atol=1e-12)


def test_a_state_gated_memory_cannot_be_chunked_and_says_why():
    mem = memory()
    assert mem.forms == ("recurrent",)
    with pytest.raises(ValueError, match=r"no form 'chunk': with gates: state .* gates: token can be chunked"):
        mem.scan(clip(), form="chunk")
    assert memory(gates="token").forms == ("chunk", "recurrent")
    assert memory(alpha=False, beta=False).forms == ("chunk", "recurrent")


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match="3 does not divide 256"):
        memories.build("gated_delta", {"key_dim": 64, "value_dim": 256}, heads=3)
    with pytest.raises(RecipeError, match="gates: token needs token features"):
        memories.build("gated_delta", {"key_dim": 64, "value_dim": 256}, gates="token")
    with pytest.raises(ValueError, match=r"Tokens.feature, which is None"):
        memory(gates="token").scan(clip().replace(feature=None))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"normalize": "spectral", "write": "tokens"}, "normalize: spectral .* needs write: joint and erase: true"),
        ({"normalize": "tokens", "erase": False}, "normalize: tokens .* needs write: joint and erase: true"),
        ({"alpha": False, "decay": "raw"}, "need alpha: true"),
        ({"alpha": False, "alpha_layout": "tiled"}, "need alpha: true"),
        ({"alpha": False, "beta": False, "heads": 2}, "need alpha or beta: true"),
        ({"alpha": False, "beta": False, "gates": "token"}, "need alpha or beta: true"),
        ({"decay_per": "token"}, "decay_per: token needs gates: token and write: tokens"),
        ({"decay_per": "token", "gates": "token"}, "decay_per: token needs gates: token and write: tokens"),
        ({"decay_per": "token", "gates": "token", "write": "tokens", "decay": "raw"}, "with decay: exp"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, says):
    with pytest.raises(RecipeError, match=says):
        memories.build("gated_delta", {"key_dim": K, "value_dim": 8, "feature_dim": C}, **options)


def test_without_gates_heads_need_not_divide_the_value_channels():
    assert memories.build("gated_delta", {"key_dim": K, "value_dim": 6}, alpha=False, beta=False).heads == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [100.0, 1e4, float("inf"), float("-inf")])
@pytest.mark.parametrize("options", [{}, {"gates": "token"}, {"gates": "token", "write": "tokens"}])
@pytest.mark.parametrize("name", ["A_log", "dt_bias"])
def test_rates_and_steps_of_infinity_are_finite(name, options, level, dtype):
    mem, tokens = memory(**options).to(dtype), clip().map(lambda x: x.to(dtype))
    with torch.no_grad():
        getattr(mem, name).fill_(level)
    for form in mem.forms:
        mem.zero_grad()
        out, final = mem.scan(tokens, form=form)
        (out.sum() + final.S.sum()).backward()
        assert all(torch.isfinite(x).all() for x in (out, final.S, *(p.grad for p in mem.parameters())))


def test_only_empty_items_of_a_batch_are_written_plainly():
    reset = torch.zeros(B, T, dtype=torch.bool)
    reset[1, 2] = True
    tokens = clip(reset=reset)
    for gates in ("state", "token"):
        mem = memory(gates=gates)
        *_, third, _ = states(mem, tokens)
        plain = tokens.key[:, 2].softmax(-1)[:, None].mT @ tokens.value[:, 2]
        assert torch.allclose(third[1], plain[1], atol=1e-12)
        assert not torch.allclose(third[0], plain[0], atol=1e-3)
