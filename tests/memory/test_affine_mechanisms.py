"""Retention, GLA, Mamba-2, KDA, gated DeltaProduct, RWKV-7 and mLSTM against their equations, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from memx.errors import RecipeError
from memx.memory import Shape, State, Tokens, memories
from memx.memory._frame_writes import decayed_sum
from memx.memory.drawing import space_of

B, T, OBJECTS, N, K, V, C, HEADS = 2, 4, 2, 3, 5, 6, 7, 2
FACTS = {"key_dim": K, "value_dim": V, "feature_dim": C}
WIDTH = V // HEADS
LEVELS = (100.0, 1e4, math.inf, -math.inf)
forms = pytest.mark.parametrize("form", ["chunk", "recurrent"])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clip(frames=T, seed=0, resets=True):
    reset = torch.zeros(B, frames, dtype=torch.bool)
    reset[1, 2:3] = resets
    return Tokens(
        normal(B, frames, N, K, seed=seed),
        normal(B, frames, N, K, seed=seed + 1),
        normal(B, frames, OBJECTS, N, V, seed=seed + 2),
        normal(B, frames, N, C, seed=seed + 3),
        reset,
    )


def memory(name, **options):
    torch.manual_seed(1)
    mem = memories.build(name, FACTS, **({"heads": HEADS} | options)).double()
    mem.said = options
    with torch.no_grad():
        for parameter in mem.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mem


def per_token(log_decay, per):
    """Log-decays (n ·) as they meet the tokens: their own, or the frame's mean before its first token."""
    if per == "token":
        return log_decay
    return torch.cat([log_decay.mean(0, keepdim=True), torch.zeros_like(log_decay[1:])])


def low_rank(gate, x, h, inner=lambda x: x):
    return inner(x @ gate.down.weight.T) @ gate.up[h].T + gate.bias[h]


def mapped(mem, x):
    """Keys or queries under the map that was asked for; softmax where none was."""
    name = mem.said.get("key_norm", "softmax")
    return {"softmax": x.softmax(-1), "l2": F.normalize(x, dim=-1), "none": x}[name]


def retention(mem, h, key, x):
    key = mapped(mem, key)
    decay = per_token(torch.full((N, 1), math.log(1 - 2.0 ** (-5 - h))).double(), mem.decay_per).exp()
    for n in range(N):
        yield decay[n] * torch.eye(K), key[n], n, None


def gla(mem, h, key, x):
    key, temperature = mapped(mem, key), mem.said.get("temperature", 16)
    alpha = per_token(low_rank(mem.gate, x, h).sigmoid().log() / temperature, mem.decay_per).exp()
    for n in range(N):
        yield torch.diag(alpha[n]), key[n], n, None


def mamba2(mem, h, key, x):
    step = F.softplus(x @ mem.dt_proj.weight[h] + mem.dt_bias[h])
    for n in range(N):
        decay = (-mem.A_log[h].exp() * step[n]).exp()
        yield decay * torch.eye(mem.rows).double(), step[n] * (mem.B_proj.weight @ key[n]), n, None


def kda(mem, h, key, x):
    key = key / key.norm(dim=-1, keepdim=True)
    log_decay = -mem.A_log[h].exp() * F.softplus(low_rank(mem.decay, x, h))
    alpha, beta = per_token(log_decay, mem.decay_per).exp(), (x @ mem.b_proj.weight[h]).sigmoid()
    for n in range(N):
        yield (torch.eye(K) - beta[n] * torch.outer(key[n], key[n])) @ torch.diag(alpha[n]), beta[n] * key[n], n, None


def gated_delta_product(mem, h, key, x):
    log_decay = -mem.A_log[h].exp() * F.softplus(x @ mem.a_proj.weight[h] + mem.dt_bias[h])
    alpha = per_token(log_decay, mem.decay_per).exp()
    for n in range(N):
        for j, step in enumerate(mem.steps):
            k = F.normalize(step.k_proj.weight @ key[n], dim=0)
            beta = mem.strongest * (step.b_proj.weight[h] @ x[n]).sigmoid()
            M = torch.eye(K) - beta * torch.outer(k, k)
            yield (alpha[n] * M if j == 0 else M), beta * k, n, step.v_proj[h]


def rwkv7(mem, h, key, x):
    w = (-math.exp(-0.5) * low_rank(mem.decay, x, h, torch.tanh).sigmoid()).exp()
    a = low_rank(mem.rate, x, h).sigmoid()
    for n in range(N):
        removed = F.normalize(key[n] * mem.removal[h], dim=0)
        written = key[n] * (1 + (a[n] - 1) * mem.replacement[h])
        yield torch.diag(w[n]) - torch.outer(a[n] * removed, removed), written, n, None


EQUATIONS = {f.__name__: f for f in (retention, gla, mamba2, kda, gated_delta_product, rwkv7)}
CASES = [
    *((name, {"decay_per": per}) for name in ("retention", "gla", "kda") for per in ("frame", "token")),
    *(
        ("gated_delta_product", {"steps": steps, "decay_per": per, "negative_eigenvalues": steps == 3})
        for steps, per in ((1, "frame"), (2, "token"), (3, "frame"))
    ),
    *((name, options) for name in EQUATIONS for options in space_of(memories[name]).corners),
    ("gla", {"temperature": 2.5, "decay_per": "token", "key_norm": "none", "heads": 3}),
    ("mamba2", {"state_dim": 3}),
    ("rwkv7", {}),
    ("rwkv7", {"rank": 1, "heads": 3}),
]


def by_hand(mem, tokens, S):
    """S ← M S + w (U v)ᵀ, step after step with dense matrices M (k k): states after every frame (b t o k v)."""
    S, width = S.clone(), V // mem.heads
    states = []
    for t in range(tokens.key.shape[1]):
        for b in range(B):
            if tokens.reset[b, t]:
                S[b] = 0
            for h in range(mem.heads):
                part = slice(h * width, (h + 1) * width)
                for M, w, n, U in EQUATIONS[type_name(mem)](mem, h, tokens.key[b, t], tokens.feature[b, t]):
                    for o in range(OBJECTS):
                        v = tokens.value[b, t, o, n, part]
                        S[b, o][:, part] = M.double() @ S[b, o][:, part] + torch.outer(w, v if U is None else U @ v)
        states.append(S.clone())
    return torch.stack(states, dim=1)


def type_name(mem):
    return next(name for name in EQUATIONS if memories[name].factory is type(mem))


@forms
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@torch.no_grad()
def test_a_memory_is_its_equation_token_by_token(name, options, form):
    """From a state that is not empty, with a reset, several heads and objects, and K ≠ V."""
    mem, tokens = memory(name, **options), clip()
    S = normal(B, OBJECTS, mem.rows, V, seed=9)
    states = by_hand(mem, tokens, S)
    out, final = mem.scan(tokens, State(S=S), form=form)
    assert torch.allclose(final.S, states[:, -1], atol=1e-12)
    query = {
        "mamba2": lambda q: q @ mem.C_proj.weight.T,
        "rwkv7": lambda q: q,
        "kda": lambda q: F.normalize(q, dim=-1),
        "gated_delta_product": lambda q: F.normalize(q, dim=-1),
    }.get(name, lambda q: mapped(mem, q))(tokens.query)
    want = query.unsqueeze(2) @ states
    if name == "mamba2":
        want = want + mem.D.repeat_interleave(WIDTH) * tokens.value
    assert torch.allclose(out, want, atol=1e-12)


def unstabilised(mem, tokens):
    """Readouts of mLSTM from an empty memory as the equation has them, S and z growing with the gates."""
    S, z = torch.zeros(B, OBJECTS, K, V).double(), torch.zeros(B, HEADS, K).double()
    outputs = []
    for t in range(tokens.key.shape[1]):
        out = torch.empty(B, OBJECTS, N, V).double()
        for b in range(B):
            if tokens.reset[b, t]:
                S[b], z[b] = 0, 0
            x = tokens.feature[b, t]
            for h in range(HEADS):
                part = slice(h * WIDTH, (h + 1) * WIDTH)
                log_forget = (x @ mem.f_proj.weight[h] + mem.f_proj.bias[h]).sigmoid().log()
                forget = per_token(log_forget, mem.decay_per).exp()
                gate = (x @ mem.i_proj.weight[h] + mem.i_proj.bias[h]).exp()
                for n in range(N):
                    k = gate[n] * tokens.key[b, t, n] / K**0.5
                    z[b, h] = forget[n] * z[b, h] + k
                    for o in range(OBJECTS):
                        S[b, o][:, part] = forget[n] * S[b, o][:, part] + torch.outer(k, tokens.value[b, t, o, n, part])
                divisor = (tokens.query[b, t] @ z[b, h]).abs().clamp(min=1)
                out[b][..., part] = tokens.query[b, t] @ S[b][..., part] / divisor.unsqueeze(-1)
        outputs.append(out)
    return torch.stack(outputs, dim=1), S, z


@forms
@pytest.mark.parametrize("per", ["frame", "token"])
@torch.no_grad()
def test_mlstm_reads_what_the_unstabilised_equation_reads(per, form):
    mem, tokens = memory("mlstm", decay_per=per), clip(frames=6)
    mem.f_proj.bias.fill_(1.0)
    for bias in (-3.0, 0.0, 3.0, 300.0):  # below and above the floor of the divisor
        mem.i_proj.bias.fill_(bias)
        want, S, z = unstabilised(mem, tokens)
        _, state = mem.scan(tokens.slice(0, 2), form=form)
        out, final = mem.scan(tokens.slice(2, 6), state, form=form)
        assert torch.allclose(out, want[:, 2:], rtol=1e-10, atol=1e-12)
        largest = final.m.exp()
        assert torch.allclose(final.z * largest.unsqueeze(-1), z, rtol=1e-10)
        assert torch.allclose(final.S * largest.repeat_interleave(WIDTH, 1)[:, None, None], S, rtol=1e-10)


@forms
@torch.no_grad()
def test_mlstm_does_not_depend_on_its_stabiliser(form):
    """Another m, S and z scaled to it, is the same memory; and where no divisor meets its floor, so are all gates."""
    mem, tokens = memory("mlstm"), clip()
    _, state = mem.scan(clip(seed=20), form=form)
    want, _ = mem.scan(tokens, state, form=form)
    shift = torch.tensor([2.0, -5.0]).double()
    scale = (-shift).exp()
    moved = state.replace(
        m=state.m + shift,
        z=state.z * scale[:, None],
        S=state.S * scale.repeat_interleave(WIDTH),
    )
    assert torch.allclose(mem.read(moved, tokens.frame(0)), mem.read(state, tokens.frame(0)), atol=1e-12)
    assert torch.allclose(mem.scan(tokens, moved, form=form)[0], want, atol=1e-12)
    outs = []
    for bias in (600.0, 900.0, 1e5):  # exp(900) is beyond float64
        mem.i_proj.bias.fill_(bias)
        outs.append(mem.scan(tokens, form=form)[0])
    assert torch.isfinite(outs[0]).all()
    assert outs[0].abs().max() > 0.1
    assert torch.allclose(outs[0], outs[1], rtol=1e-9)
    assert torch.allclose(outs[1], outs[2], rtol=1e-6)


@forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [1000.0, -1000.0])
def test_mlstm_with_gates_beyond_the_exponential_is_finite(level, dtype, form):
    mem, tokens = memory("mlstm").to(dtype), clip().map(lambda x: x.to(dtype).requires_grad_())
    assert tokens.feature is not None
    for gate in (mem.i_proj, mem.f_proj):
        with torch.no_grad():
            gate.bias.fill_(level)
        out, final = mem.scan(tokens, form=form)
        (out.sum() + final.S.sum() + final.z.sum() + final.m.sum()).backward()
        gradients = [p.grad for p in mem.parameters()] + [tokens.value.grad, tokens.feature.grad]
        assert all(torch.isfinite(x).all() for x in (out, final.S, final.z, final.m, *gradients))


@torch.no_grad()
def test_an_empty_mlstm_reads_zeros():
    mem, frame = memory("mlstm"), clip().frame(0)
    empty = mem.init_state(B, OBJECTS, dtype=torch.float64)
    assert torch.equal(mem.read(empty, frame), torch.zeros(B, OBJECTS, N, V).double())


@forms
@pytest.mark.parametrize(("name", "options"), [("mlstm", {}), ("mamba2", {"state_dim": 4})])
@torch.no_grad()
def test_heads_permute(name, options, form):
    """Heads swapped, in values and in what is theirs among the parameters."""
    mem, other, tokens = memory(name, **options), memory(name, **options), clip()
    for mine, theirs in zip(mem.parameters(), other.parameters(), strict=True):
        if mine.shape[0] == HEADS:
            theirs.copy_(mine.flip(0))
    swapped = torch.arange(V).view(HEADS, WIDTH).flip(0).flatten()
    want, _ = mem.scan(tokens, form=form)
    got, _ = other.scan(tokens.replace(value=tokens.value[..., swapped]), form=form)
    assert torch.allclose(got[..., swapped], want, atol=1e-12)


def same(one, other):
    torch.testing.assert_close(one[0], other[0], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(one[1].S, other[1].S, atol=1e-12, rtol=1e-12)


@forms
@pytest.mark.parametrize("per", ["frame", "token"])
@torch.no_grad()
def test_gla_that_forgets_nothing_is_linear(per, form):
    mem, tokens = memory("gla", decay_per=per), clip()
    mem.gate.bias.fill_(1e6)
    same(mem.scan(tokens, form=form), memories.build("linear", FACTS).scan(tokens, form=form))


@forms
@pytest.mark.parametrize("per", ["frame", "token"])
@torch.no_grad()
def test_kda_whose_channels_decay_alike_is_gated_delta(per, form):
    mem, tokens = memory("kda", decay_per=per), clip()
    mem.decay.up.zero_()
    mem.decay.bias.copy_(normal(HEADS, 1, seed=5).expand(-1, K))
    mem.A_log.fill_(-1.0)
    alike = gated_delta(decay_per=per)
    alike.a_proj.weight.zero_()
    alike.dt_bias.copy_(mem.decay.bias[:, 0])
    alike.A_log.copy_(mem.A_log)
    alike.b_proj.load_state_dict(mem.b_proj.state_dict())
    same(mem.scan(tokens, form=form), alike.scan(tokens, form=form))


def gated_delta(**options):
    return memory("gated_delta", gates="token", write="tokens", key_norm="l2", start="gate", **options)


@forms
@pytest.mark.parametrize("per", ["frame", "token"])
@torch.no_grad()
def test_one_delta_step_a_token_starts_as_gated_delta(per, form):
    torch.manual_seed(1)
    options = {"heads": HEADS, "decay_per": per}
    mem = memories.build("gated_delta_product", FACTS, steps=1, **options).double()
    alike, tokens = gated_delta(decay_per=per), clip()
    for name in ("a_proj.weight", "A_log", "dt_bias"):
        alike.get_parameter(name).copy_(mem.get_parameter(name))
    alike.b_proj.load_state_dict(mem.steps[0].b_proj.state_dict())
    same(mem.scan(tokens, form=form), alike.scan(tokens, form=form))


@torch.no_grad()
def test_two_reflections_rotate_what_is_stored():
    """With β = 2 and keys at 45° the product of two steps turns a plane of the state by 90°."""
    mem = memories.build("gated_delta_product", FACTS, heads=1, steps=2, negative_eigenvalues=True).double()
    mem.dt_bias.fill_(-1e6)
    angle = math.cos(math.pi / 4)
    turn = torch.eye(K).double()
    turn[:2, :2] = torch.tensor([[angle, -angle], [angle, angle]])
    mem.steps[1].k_proj.weight.copy_(turn)
    for step in mem.steps:
        step.b_proj.weight.fill_(1e4)
        step.v_proj.zero_()
    key = torch.eye(K).double()[:1].expand(1, 1, 1, K)
    tokens = Tokens(key, key, torch.ones(1, 1, 1, 1, V).double(), torch.ones(1, 1, 1, C).double())
    S = normal(1, 1, K, V)
    for form in mem.forms:
        _, final = mem.scan(tokens, State(S=S), form=form)
        want = S.clone()
        want[..., 0, :], want[..., 1, :] = -S[..., 1, :], S[..., 0, :]
        assert torch.allclose(final.S, want, atol=1e-12)


@forms
@torch.no_grad()
def test_rwkv7_that_does_not_decay_and_replaces_all_is_delta(form):
    mem, tokens = memory("rwkv7"), clip()
    tokens = tokens.replace(key=F.normalize(tokens.key, dim=-1))
    for gate, bias in ((mem.decay, -1e6), (mem.rate, 1e6)):
        gate.bias.fill_(bias)
    mem.removal.fill_(1.0)
    delta = memories.build("delta", FACTS, key_norm="none")
    same(mem.scan(tokens, form=form), delta.scan(tokens, form=form))


@forms
@torch.no_grad()
def test_mamba2_with_steps_of_one_and_no_decay_is_linear_in_its_projected_keys(form):
    mem, tokens = memory("mamba2", state_dim=K), clip()
    mem.A_log.fill_(-1e4)
    mem.dt_proj.weight.zero_()
    mem.dt_bias.fill_(math.log(math.e - 1))
    mem.D.zero_()
    linear = memories.build("linear", FACTS, feature_map="identity")
    projected = tokens.replace(key=tokens.key @ mem.B_proj.weight.T, query=tokens.query @ mem.C_proj.weight.T)
    same(mem.scan(tokens, form=form), linear.scan(projected, form=form))


@pytest.mark.parametrize("channels", [False, True])
def test_decays_over_a_frame_are_exact_at_every_extreme(channels):
    """A log-decay of −∞ cuts the tokens before it off, −10⁴ costs the others no precision, gradients are finite."""
    key, value, S = normal(1, 1, 8, K), normal(1, 2, 8, V, seed=1), normal(1, 2, K, V, seed=2)
    g = -normal(1, 2, 8, *([K] if channels else []), seed=3).abs()
    g[:, 0, 3], g[:, 1, 5] = -math.inf, -1e4
    leaves = [x.requires_grad_() for x in (key, value, S, g)]
    got = decayed_sum(key, value, g, "token").apply(S)
    decay = g.exp() if channels else g.exp().unsqueeze(-1)
    want = S
    for n in range(8):
        want = decay[:, :, n].unsqueeze(-1) * want + key[:, :, n, :, None] * value[:, :, n, None, :]
    assert torch.allclose(got, want, rtol=1e-13, atol=1e-14)
    weights = normal(1, 2, K, V, seed=4)
    for one, other in zip(
        torch.autograd.grad((got * weights).sum(), leaves, retain_graph=True),
        torch.autograd.grad((want * weights).sum(), leaves),
        strict=True,
    ):
        assert torch.isfinite(one).all()
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "parameter", "level"),
    [
        *((name, "A_log", level) for name in ("mamba2", "kda", "gated_delta_product") for level in LEVELS),
        *(("mamba2", "dt_bias", level) for level in LEVELS if level < math.inf),  # Δ also multiplies what is written
        *(("gated_delta_product", "dt_bias", level) for level in LEVELS),
        *((name, "decay.bias", level) for name in ("kda", "rwkv7") for level in LEVELS),
        *(("rwkv7", "rate.bias", level) for level in LEVELS),
        *(("gla", "gate.bias", level) for level in LEVELS),
    ],
)
def test_rates_and_steps_of_infinity_are_finite(name, parameter, level, dtype):
    mem, tokens = memory(name).to(dtype), clip().map(lambda x: x.to(dtype))
    with torch.no_grad():
        mem.get_parameter(parameter).fill_(level)
    for form in mem.forms:
        mem.zero_grad()
        out, final = mem.scan(tokens, form=form)
        (out.sum() + final.S.sum()).backward()
        assert all(torch.isfinite(x).all() for x in (out, final.S, *(p.grad for p in mem.parameters())))


def test_costs_by_hand():
    """Two clips of three frames of 40 tokens; a write and a read of the state are n · rows · o · v each."""
    shape, frames, n, o = Shape(batch=2, frames=3, objects=2, tokens=40), 2 * 3, 40, 2
    both = 2 * n * K * o * V
    costs = {name: memory(name).cost(shape) for name in (*EQUATIONS, "mlstm")}
    assert costs["retention"].macs == frames * both
    assert costs["gla"].macs == frames * (both + n * (C * C + C * HEADS * K))  # 7 features allow rank 7
    mamba2 = memory("mamba2", state_dim=3).cost(shape)
    assert mamba2.macs == frames * (2 * n * 3 * o * V + n * (2 * K * 3 + C * HEADS))
    assert mamba2.state_bytes == 2 * 4 * o * 3 * V
    assert costs["mlstm"].macs == frames * (2 * n * K * (o * V + HEADS) + 2 * n * C * HEADS)
    assert costs["mlstm"].state_bytes == 2 * 4 * (o * K * V + HEADS * K + HEADS)
    gates = HEADS * C + 2 * (K * K + HEADS * (o * WIDTH) * WIDTH + HEADS * C)
    width = o * WIDTH  # 80 steps are three chunks of 32, whose inverses are of two blocks of 16
    chunks = 3 * HEADS * (2 * 16**3 + 2 * 32 * 32 * K + 32 * 32 * width + 2 * 32 * K * width)
    assert costs["gated_delta_product"].macs == frames * (n * K * o * V + n * gates + chunks)
    assert all(
        cost.uncounted_macs > 0 for name, cost in costs.items() if name in ("kda", "gated_delta_product", "rwkv7")
    )
    assert all(costs[name].uncounted_macs == 0 for name in ("retention", "gla", "mamba2", "mlstm"))


@pytest.mark.parametrize("name", ["gla", "mamba2", "kda", "gated_delta_product", "rwkv7", "mlstm"])
def test_gates_need_features(name):
    with pytest.raises(RecipeError, match=f"{name} needs token features"):
        memories.build(name, {"key_dim": K, "value_dim": 8})
    with pytest.raises(ValueError, match=rf"{name} reads Tokens.feature, which is None"):
        memory(name).scan(clip().replace(feature=None))
    with pytest.raises(RecipeError, match="4 does not divide 6"):
        memories.build(name, FACTS, heads=4)
