"""Linear, delta, gated delta and softmax memories against loops written out, with every value of every option."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from memx.memory import Tokens, memories
from memx.memory.drawing import space_of
from memx.memory.laws.outcome import all_forms

B, T, OBJECTS, N, K, V, C, HEADS = 2, 4, 2, 3, 4, 6, 5, 2
FACTS = {"key_dim": K, "value_dim": V, "feature_dim": C}
PART = V // HEADS


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TOKENS = Tokens(
    normal(B, T, N, K, seed=0),
    normal(B, T, N, K, seed=1),
    normal(B, T, OBJECTS, N, V, seed=2),
    normal(B, T, N, C, seed=3),
)


def mapped(x, name):
    return {
        "softmax": x.softmax(-1),
        "elu": F.elu(x) + 1,
        "relu": x.relu(),
        "l2": x / x.norm(dim=-1, keepdim=True),
        "identity": x,
        "none": x,
    }[name]


def linear(mem, o, key, query, value, x):
    S, z = torch.zeros(K, V).double(), torch.zeros(K).double()
    for t in range(T):
        k, q = mapped(key[t], o["feature_map"]), mapped(query[t], o["feature_map"])
        S, z = S + k.T @ value[t], z + k.sum(0)
        total = (q @ z)[:, None] if o["normalize"] else torch.ones(N, 1)
        yield q @ S / torch.where(total == 0, 1, total)


def divided(G, keys, name):
    if name == "tokens":
        return G / N
    return G / torch.linalg.eigvalsh(keys.T @ keys)[-1] if name == "spectral" else G


def delta(mem, o, key, query, value, x):
    S = torch.zeros(K, V).double()
    for t in range(T):
        k, q = mapped(key[t], o["key_norm"]), mapped(query[t], o["key_norm"])
        learned = o["beta"] == "token"
        beta = (x[t] @ mem.b_proj.weight[0] + mem.b_proj.bias).sigmoid() if learned else torch.full((N,), o["beta"])
        if o["write"] == "joint":
            S = S - divided(k.T @ (beta[:, None] * k), k, o["normalize"]) @ S + k.T @ (beta[:, None] * value[t])
        else:
            for n in range(N):
                S = S + beta[n] * torch.outer(k[n], value[t, n] - S.T @ k[n])
        yield q @ S


def gated_delta(mem, o, key, query, value, x):
    heads = o["heads"] if o["alpha"] or o["beta"] else 1
    neighbours = [c // (V // heads) for c in range(V)]
    alpha_head = neighbours if o["alpha_layout"] == "interleaved" else [c % heads for c in range(V)]
    state_gates, S = o["gates"] == "state", torch.zeros(K, V).double()
    for t in range(T):
        k, q, rows = mapped(key[t], o["key_norm"]), mapped(query[t], o["key_norm"]), S if state_gates else x[t]
        plain = t == 0 and o["start"] == "write"
        beta, a = torch.ones(len(rows), V).double(), torch.zeros(len(rows), V).double()
        if o["beta"] and not plain:
            beta = (rows @ mem.b_proj.weight.T).sigmoid()[:, neighbours]
        if o["alpha"]:
            step = F.softplus(rows @ mem.a_proj.weight.T + mem.dt_bias)
            a = (-mem.A_log.exp() * step)[:, alpha_head]
        if not state_gates and o["decay_per"] == "frame":
            a = a.mean(0)
        alpha = a if o["alpha"] and o["decay"] == "raw" else a.exp()
        erases = o["erase"] and not plain
        if plain and (o["write"] == "joint" or not o["erase"] or o["decay_per"] == "token" or state_gates):
            S = k.T @ value[t]
        elif (o["write"] == "joint" or not o["erase"]) and o["decay_per"] == "frame":
            weigh = torch.ones(N, V).double() if state_gates else beta
            new = torch.empty(K, V).double()
            for c in range(V):
                G = divided(k.T @ (weigh[:, c, None] * k), k, o["normalize"])
                erased, written = G @ S[:, c], k.T @ (weigh[:, c] * value[t, :, c])
                outside = beta[:, c] if state_gates else 1.0
                decay = alpha[:, c] if alpha.ndim == 2 else alpha[c]
                new[:, c] = decay * (S[:, c] - outside * (erased if erases else 0)) + outside * written
            S = new
        else:
            S = S if o["decay_per"] == "token" else alpha * S
            for n in range(N):
                S = alpha[n] * S if o["decay_per"] == "token" else S
                strength = beta if state_gates else beta[n]
                S = S + strength * torch.outer(k[n], value[t, n] - (S.T @ k[n] if erases else 0))
        yield q @ S


def softmax(mem, o, key, query, value, x):
    kept = []
    for t in range(T):
        if t % o["every"] == 0:
            kept.append(t)
            if o["capacity"] and len(kept) > o["capacity"]:
                kept.pop(1 if o["keep_first"] else 0)
        k, v = key[kept].flatten(0, 1), value[kept].flatten(0, 1)
        s = {
            "dot": query[t] @ k.T,
            "cosine": mapped(query[t], "l2") @ mapped(k, "l2").T,
            "l2": -(query[t][:, None] - k).square().sum(-1),
        }[o["similarity"]]
        s = s * (o["scale"] or (10 if o["similarity"] == "cosine" else K**-0.5))
        if o["top_k"] and o["top_k"] < s.shape[-1]:
            s = s.masked_fill(s < s.topk(o["top_k"]).values[:, -1:], -math.inf)
        yield s.softmax(-1) @ v


MORE = {
    "linear": [{"normalize": True, "feature_map": "relu"}],
    "delta": [{"write": "joint", "normalize": each, "beta": "token"} for each in ("tokens", "spectral")],
    "gated_delta": [
        {"gates": "token", "normalize": "spectral", "key_norm": "none"},
        {"gates": "token", "start": "gate", "decay": "raw"},
        {"gates": "token", "erase": False, "write": "tokens", "decay_per": "token"},
        {"write": "tokens", "key_norm": "l2", "start": "gate", "decay": "raw", "alpha_layout": "tiled"},
    ],
    "softmax": [{"similarity": "cosine", "scale": 2.0, "top_k": 4}],
}
ORACLES = {f.__name__: f for f in (linear, delta, gated_delta, softmax)}
CASES = [(name, o) for name in ORACLES for o in ({}, *space_of(memories[name]).corners, *MORE[name])]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@torch.no_grad()
def test_every_option_is_in_the_equation(name, options):
    filled = {k: field.default for k, field in memories[name].options.model_fields.items()} | options
    if "heads" in filled and (filled["alpha"] or filled["beta"]):
        filled["heads"] = options["heads"] = HEADS
    torch.manual_seed(2)
    mem = memories.build(name, FACTS, **options).double()
    for parameter in mem.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    for form in all_forms(mem):
        out, _ = mem.scan(TOKENS, form=form)
        for b in range(B):
            for i in range(OBJECTS):
                parts = TOKENS.key[b], TOKENS.query[b], TOKENS.value[b, :, i], TOKENS.feature[b]
                want = torch.stack(list(ORACLES[name](mem, filled, *parts)))
                assert torch.allclose(out[b, :, i], want, atol=1e-10), f"{form}: {(out[b, :, i] - want).abs().max()}"


def test_every_option_is_set_away_from_its_default_somewhere():
    for name in ORACLES:
        said = {option for case, options in CASES if case == name for option in options}
        assert said == set(memories[name].options.model_fields)
