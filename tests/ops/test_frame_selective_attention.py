"""The joint frame write, the selective scan and the attention of a space-time memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx import ops
from memx.ops.frame import gram
from memx.ops.selective import selective_summary

SETTINGS = settings(deadline=None, max_examples=25, derandomize=True, database=None)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("normalize", [None, "none", "tokens", "spectral"])
def test_the_frame_write_is_its_equation_for_every_object(normalize):
    S, k, v = normal(2, 3, 4, 5), normal(2, 6, 4, seed=1), normal(2, 3, 6, 5, seed=2)
    alpha, beta = normal(2, 3, 4, 5, seed=3).sigmoid(), normal(2, 3, 4, 5, seed=4).sigmoid()
    got = ops.frame_delta_rule(S, k, v, alpha=alpha, beta=beta, normalize=normalize)
    for b in range(2):
        G = sum(torch.outer(x, x) for x in k[b])
        divisor = {"tokens": 6, "spectral": torch.linalg.matrix_norm(k[b], 2) ** 2}.get(normalize, 1)
        for o in range(3):
            written = sum(torch.outer(x, y) for x, y in zip(k[b], v[b, o], strict=True))
            want = alpha[b, o] * (S[b, o] - beta[b, o] * (G / divisor @ S[b, o])) + beta[b, o] * written
            assert torch.allclose(got[b, o], want, atol=1e-12)
    one = ops.frame_delta_rule(S[:, 0], k, v[:, 0], alpha=alpha[:, 0], beta=beta[:, 0], normalize=normalize)
    assert torch.allclose(one, got[:, 0], atol=1e-12)


def test_normalised_frame_writes_stay_bounded_and_the_plain_one_has_its_bound():
    """1,000 frames of softmax keys with β = 1: bounded when normalised; plain, with β λ_max > 2, the state explodes."""
    frames, n, k = 1000, 256, 8
    keys = (3 * normal(n, k)).softmax(-1)[None]
    values = normal(1, n, 4, seed=1).sign()
    largest = torch.linalg.eigvalsh(gram(keys))[0, -1].item()
    assert largest > 2
    norms = {}
    for normalize in ("none", "tokens", "spectral"):
        S = normal(1, k, 4, seed=2)
        for _ in range(frames):
            S = ops.frame_delta_rule(S, keys, values, alpha=0.99, beta=1.0, normalize=normalize)
        norms[normalize] = S.norm().item()
    assert norms["tokens"] < 100 * n
    assert norms["spectral"] < 100 * n
    assert not norms["none"] < 1e30
    S, below = normal(1, k, 4, seed=2), 1.9 / largest
    for _ in range(frames):
        S = ops.frame_delta_rule(S, keys, torch.zeros_like(values), alpha=1.0, beta=below)
    assert S.norm() <= normal(1, k, 4, seed=2).norm()


@SETTINGS
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 8),
    seed=st.integers(0, 99),
    alike=st.booleans(),
    keys=st.sampled_from(["softmax", "l2"]),
)
def test_divided_by_the_tokens_a_frame_of_keys_of_norm_one_does_not_expand(n, k, seed, alike, keys):
    x = normal(1, n, k, seed=seed)
    x = x[:, :1].expand(-1, n, -1) if alike else x
    x = x.softmax(-1) if keys == "softmax" else torch.nn.functional.normalize(x, dim=-1)
    strength = normal(1, n, seed=seed + 1).sigmoid()
    for weights in (None, strength, torch.ones_like(strength)):
        values = torch.linalg.eigvalsh(gram(x, strength=weights, normalize="tokens"))
        assert values.max() <= 1 + 1e-12
        assert values.min() >= -1e-12
    if alike and keys == "l2":
        assert abs(torch.linalg.eigvalsh(gram(x, normalize="tokens")).max().item() - 1) <= 1e-12


def test_a_weighted_gram_never_has_an_eigenvalue_above_one():
    k, strength = normal(3, 20, 5), normal(3, 20, seed=1).sigmoid()
    top = torch.linalg.eigvalsh(gram(k, strength=strength, normalize="spectral"))[:, -1]
    assert (top <= 1 + 1e-12).all()
    assert torch.equal(gram(torch.zeros(1, 4, 3), normalize="spectral"), torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="none, tokens or spectral"):
        gram(k, normalize="frobenius")


def test_frame_shapes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"v must be \(b, o, n, v\)"):
        ops.frame_delta_rule(normal(2, 3, 4, 5), normal(2, 6, 4), normal(2, 6, 5))
    with pytest.raises(ValueError, match=r"k must be \(b, n, k\) with k = 4 as in S"):
        ops.frame_delta_rule(normal(2, 4, 5), normal(2, 6, 3), normal(2, 6, 5))


def scan_inputs(t, seed=0, b=2, k=3, v=4):
    A = -normal(k, v, seed=seed + 1).exp()
    x, dt = normal(b, t, v, seed=seed), normal(b, t, v, seed=seed + 2).exp()
    return [x, dt, A, normal(b, t, k, seed=seed + 3), normal(b, t, k, seed=seed + 4), normal(b, k, v, seed=seed + 5)]


@SETTINGS
@given(
    t=st.sampled_from([0, 1, 2, 7, 16]),
    chunk_size=st.sampled_from([None, 1, 2, 5]),
    seed=st.integers(0, 99),
    resets=st.booleans(),
    large=st.sampled_from([None, 100.0, 1e4]),
)
def test_selective_scan_forms_agree_with_gradients(t, chunk_size, seed, resets, large):
    inputs = scan_inputs(t, seed)
    if large is not None and t:
        inputs[1][:, t // 2] = large
    reset = torch.rand(2, t, generator=torch.Generator().manual_seed(seed)) < 0.2 if resets else None

    def run(**options):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out, state = ops.selective_scan(*leaves[:5], initial_state=leaves[5], reset=reset, **options)
        loss = (out * normal(*out.shape, seed=1)).sum() + (state * normal(*state.shape, seed=2)).sum()
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        return [out, state, *[torch.zeros(()) if g is None else g for g in gradients]]

    for got, want in zip(run(chunk_size=chunk_size), run(form="recurrent"), strict=True):
        if want.numel():
            assert torch.isfinite(want).all()
            assert (got - want).abs().max() <= 1e-10 * max(1.0, want.abs().max().item())


def test_selective_scan_is_its_equation_and_its_summary_is_its_last_state():
    x, dt, A, B, C, S0 = scan_inputs(5)
    D = normal(4, seed=9)
    out, final = ops.selective_scan(x, dt, A, B, C, D=D, initial_state=S0)
    for b in range(2):
        S = S0[b]
        for t in range(5):
            S = (dt[b, t] * A).exp() * S + torch.outer(B[b, t], dt[b, t] * x[b, t])
            assert torch.allclose(out[b, t], S.T @ C[b, t] + D * x[b, t], atol=1e-12)
        assert torch.allclose(final[b], S, atol=1e-12)
    decay, written = selective_summary(x, dt, A, B)
    assert torch.allclose(decay * S0 + written, final, atol=1e-12)


@pytest.mark.parametrize("form", ["recurrent", "chunk"])
def test_a_bad_step_does_not_reach_the_past_of_a_selective_scan(form):
    clean = scan_inputs(6)
    for part in (0, 1, 3):
        bad = [x.clone() for x in clean]
        bad[part][0, 3] = float("nan")
        leaves = [x.requires_grad_() for x in bad]
        out, state = ops.selective_scan(*leaves[:5], initial_state=leaves[5], form=form)
        want, _ = ops.selective_scan(*clean[:5], initial_state=clean[5], form=form)
        assert torch.equal(out[:, :3], want[:, :3])
        assert out[0, 3:].isnan().all()
        assert state[0].isnan().all()
        assert torch.equal(out[1], want[1])
        gradients = torch.autograd.grad(out[:, :3].sum(), leaves)
        assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "l2"])
@pytest.mark.parametrize("top_k", [None, 3, 50])
def test_attention_is_its_equation(similarity, top_k):
    q, k, v = normal(2, 4, 5), normal(2, 7, 5, seed=1), normal(2, 3, 7, 6, seed=2)
    mask = normal(2, 4, 7, seed=3) > -0.5
    mask[0, 0] = False
    got = ops.space_time_attention(q, k, v, mask=mask, similarity=similarity, top_k=top_k)
    scale = 10.0 if similarity == "cosine" else 5**-0.5
    for b in range(2):
        for n in range(4):
            readable = mask[b, n].nonzero().flatten()
            if not len(readable):
                assert torch.equal(got[b, :, n], torch.zeros(3, 6).double())
                continue
            keys = k[b, readable]
            s = {
                "dot": keys @ q[b, n],
                "cosine": torch.cosine_similarity(keys, q[b, n][None], dim=-1),
                "l2": -(keys - q[b, n]).square().sum(-1),
            }[similarity] * scale
            kept = s.topk(min(top_k or len(s), len(s))).indices
            weights = s[kept].softmax(0)
            want = torch.einsum("m,omv->ov", weights, v[b][:, readable[kept]])
            assert torch.allclose(got[b, :, n], want, atol=1e-12)


def test_masked_tokens_do_not_reach_the_result_even_as_nan():
    q, k, v = normal(1, 4, 5), normal(1, 7, 5, seed=1), normal(1, 2, 7, 6, seed=2)
    mask = torch.ones(1, 1, 7, dtype=torch.bool)
    mask[..., 3] = False
    want = ops.space_time_attention(q, k, v, mask=mask)
    k[:, 3], v[:, :, 3] = float("nan"), float("nan")
    leaves = [x.requires_grad_() for x in (q, k, v)]
    got = ops.space_time_attention(*leaves, mask=mask)
    assert torch.equal(got, want)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(got.sum(), leaves))
    assert torch.equal(ops.space_time_attention(q, k[:, :0], v[:, :, :0]), torch.zeros(1, 2, 4, 6).double())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_token_reaches_only_the_queries_that_may_read_it(bad):
    """Query 0 may read token 0, query 1 both, query 2 none: token 1 is bad in its key, or in the value of object 1."""
    mask = torch.tensor([[[True, False], [True, True], [False, False]]])
    q, k, v = normal(1, 3, 5), normal(1, 2, 5, seed=1), normal(1, 2, 2, 6, seed=2)
    want = ops.space_time_attention(q, k, v, mask=mask)
    spoils = {"k": [[1], [1]], "v": [[], [1]], "q": [[0], [0]]}
    for part, places in spoils.items():
        leaves = {"q": q.clone(), "k": k.clone(), "v": v.clone()}
        {"k": leaves["k"][:, 1], "v": leaves["v"][:, 1, 1], "q": leaves["q"][:, 0]}[part][..., 0] = bad
        got = ops.space_time_attention(*(x.requires_grad_() for x in leaves.values()), mask=mask)
        for o, spoiled in enumerate(places):
            for n in range(3):
                assert got[0, o, n].isnan().all() if n in spoiled else torch.equal(got[0, o, n], want[0, o, n])
        finite = got[got.isfinite()].sum()
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(finite, list(leaves.values())))
    v[0, 0, 1] = bad
    unmasked = ops.space_time_attention(q, k, v)
    assert unmasked[0, 0].isnan().all()
    assert torch.isfinite(unmasked[0, 1]).all()
    q[0, 2] = bad
    assert torch.equal(ops.space_time_attention(q, k, v, mask=mask)[0, :, 2], torch.zeros(2, 6).double())


def test_top_k_does_not_depend_on_the_order_of_the_memory():
    """Five equal keys tie for two places: all are read, whatever the order."""
    q, k = torch.ones(1, 1, 2).double(), torch.ones(1, 6, 2).double()
    k[:, 3] = -1
    v, order = normal(1, 1, 6, 4), torch.tensor([3, 5, 0, 2, 4, 1])
    got = ops.space_time_attention(q, k, v, top_k=2)
    assert torch.allclose(got[0, 0, 0], v[0, 0, [0, 1, 2, 4, 5]].mean(0), atol=1e-12)
    assert torch.allclose(ops.space_time_attention(q, k[:, order], v[:, :, order], top_k=2), got, atol=1e-12)
