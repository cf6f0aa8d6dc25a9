"""The joint frame write over long clips: when ‖S‖ stays bounded, by how much, and what takes it over the bound.

With Ĝ the Gram matrix of a frame's keys, divided as `normalize` says, and W = Σ_n k_n v_nᵀ,

    S_t = α (S_{t−1} − β Ĝ S_{t−1}) + β W,    ‖S_t‖ ≤ |α| ρ ‖S_{t−1}‖ + β ‖W‖,    ρ = ‖I − β Ĝ‖ = max_i |1 − β λ_i|

where α and β may differ from column to column (objects, value channels, heads). `tokens` and `spectral` put every λ_i
into [0, 1], so ρ = 1 − β λ_min ≤ 1 for β ≤ 1, and α may even differ from row to row. Added up over t frames, with w
the largest ‖W‖ and λ_min the smallest eigenvalue of any frame's Ĝ:

    α < 1    ‖S_t‖ ≤ αᵗ ‖S₀‖ + β w (1 − αᵗ) / (1 − α)        geometric
    α = 1    ‖S_t‖ ≤ ‖S₀‖ + t β w                             non-expansive, plus what is written
             ‖S_t‖ ≤ max(‖S₀‖, w / λ_min)                     since ‖S_t‖ ≤ (1 − β λ_min) ‖S_{t−1}‖ + β w
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.ops import frame_delta_rule

FRAMES, N, K, V = 1000, 256, 64, 8
DRAWN = settings(deadline=None, max_examples=60)
ROWS = 2 / math.sqrt(3)
"""The most that one frame can expand the state by with β that differ from row to row."""


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normalised_gram(key, normalize):
    G = key.mT @ key
    return G / (key.shape[-2] if normalize == "tokens" else torch.linalg.eigvalsh(G)[..., -1, None, None])


def expansion(key, **options):
    """‖M‖ of the frame's S ↦ M S, from its action on the identity."""
    eye = torch.eye(key.shape[-1], dtype=key.dtype)
    after = frame_delta_rule(eye[None], key[None], key.new_zeros(1, key.shape[0], key.shape[1]), **options)
    return torch.linalg.matrix_norm(after[0], 2).item()


@pytest.mark.parametrize("normalize", ["tokens", "spectral"])
def test_a_thousand_frames_of_normalised_writes_keep_the_state_within_its_bound(normalize):
    """Twenty frames over and over, float32, an object for every pair of α and β."""
    pairs = [(1.0, 1.0), (1.0, 0.5), (1.0, 0.01), (0.99, 1.0), (0.9, 0.3), (0.0, 1.0), (-1.0, 1.0)]
    alpha, beta = (torch.tensor(x).view(1, -1, 1, 1) for x in zip(*pairs, strict=True))
    key = (2 * normal(20, 1, N, K)).softmax(-1)
    value = normal(20, 1, 1, N, V, seed=1).expand(-1, -1, len(pairs), -1, -1)
    smallest = torch.linalg.eigvalsh(normalised_gram(key[:, 0], normalize)).min().item()
    assert smallest > 0
    w = torch.linalg.matrix_norm(key[:, 0].mT @ value[:, 0, 0]).max().item()
    S = torch.full((1, len(pairs), K, V), 0.1)
    start = torch.linalg.matrix_norm(S[0, 0]).item()
    key, value = key.float(), value.float()
    norms = []
    for t in range(FRAMES):
        S = frame_delta_rule(S, key[t % 20], value[t % 20], alpha=alpha, beta=beta, normalize=normalize)
        norms.append(torch.linalg.matrix_norm(S[0]))
    frames = torch.arange(1, FRAMES + 1)
    for (a, b), reached in zip(pairs, torch.stack(norms).unbind(1), strict=True):
        if abs(a) < 1:
            bound = a**frames * start + b * w * (1 - a**frames) / (1 - a)
        else:
            bound = (start + frames * b * w).clamp(max=max(start, w / smallest))
        assert (reached <= 1.0001 * bound).all(), f"α = {a}, β = {b}: ‖S‖ is {(reached / bound).max():.4f} of its bound"


@DRAWN
@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3)),
    normalize=st.sampled_from(["tokens", "spectral"]),
    beta=st.floats(0, 2),
    alpha=st.floats(-1, 1),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 9999),
)
def test_a_normalised_frame_never_expands_the_state(sizes, normalize, beta, alpha, scale, seed):
    """β to 2, one number or one a column, and α of any row; `tokens` for keys of norm at most 1, as softmax's are."""
    n, k, v = sizes
    key, S = scale * normal(1, n, k, seed=seed), normal(1, k, v, seed=seed + 1)
    if normalize == "tokens":
        key = key.softmax(-1)
    nothing = torch.zeros(1, n, v, dtype=torch.float64)
    rows = alpha * torch.rand(1, k, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    columns = beta * torch.rand(1, 1, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for a, b in ((alpha, beta), (rows, columns)):
        after = frame_delta_rule(S, key, nothing, alpha=a, beta=b, normalize=normalize)
        assert torch.linalg.matrix_norm(after) <= (1 + 1e-12) * torch.linalg.matrix_norm(S)


@DRAWN
@given(n=st.integers(1, 40), k=st.integers(1, 8), scale=st.sampled_from([0.1, 1.0, 10.0]), seed=st.integers(0, 9999))
def test_the_largest_eigenvalue_of_softmax_keys_is_between_n_over_k_and_n(n, k, scale, seed):
    """Keys sum to 1, so along 1/√k the quotient 1ᵀ G 1 / k is n / k; and no key is longer than 1."""
    key = (scale * normal(n, k, seed=seed)).softmax(-1)
    largest = torch.linalg.eigvalsh(key.mT @ key)[-1].item()
    assert n / k * (1 - 1e-12) <= largest <= n * (1 + 1e-12)


def test_the_largest_eigenvalue_at_256_tokens_of_64_softmax_keys_is_about_4():
    largest = [torch.linalg.eigvalsh(key.mT @ key)[-1].item() for key in normal(10, N, K).softmax(-1)]
    assert min(largest) >= 4
    assert max(largest) <= 4.2


def test_the_plain_write_is_bounded_up_to_2_over_the_largest_eigenvalue_and_not_above():
    """One frame over and over: the distance to S* = G⁻¹ W never grows below the bound, and by |1 − β λ_max| above."""
    key, value, S0 = (2 * normal(1, N, K)).softmax(-1), normal(1, N, V, seed=1), normal(1, K, V, seed=2)
    G = key.mT @ key
    largest = torch.linalg.eigvalsh(G)[0, -1].item()
    fixed = torch.linalg.solve(G, key.mT @ value)

    def distances(beta):
        S, found = S0, []
        for _ in range(FRAMES):
            S = frame_delta_rule(S, key, value, beta=beta, normalize="none")
            found.append(torch.linalg.matrix_norm(S - fixed).item())
        return found

    start = torch.linalg.matrix_norm(S0 - fixed).item()
    below = distances(0.99 * 2 / largest)
    assert max(below) <= start * (1 + 1e-9)
    above = distances(1.01 * 2 / largest)
    assert above[-1] > 1e6 * start
    assert above[-1] / above[-2] == pytest.approx(1.02, rel=1e-6)


@DRAWN
@given(
    n=st.integers(1, 4),
    k=st.integers(1, 4),
    normalize=st.sampled_from(["tokens", "spectral"]),
    hard=st.booleans(),
    seed=st.integers(0, 9999),
)
def test_strengths_of_rows_expand_a_frame_by_2_over_root_3_at_most(n, k, normalize, hard, seed):
    """β between 0 and 1, its own for every row, as gates that are read off the state's rows have it.

    ‖I − D Ĝ‖ is convex in D and in Ĝ, so it is largest where both are projections, and there it is
    √((2 − a + √(4a − 3a²)) / 2) with a = cos² of an angle between them: 2/√3 at a = 1/3.
    """
    key = normal(n, k, seed=seed).softmax(-1)
    rows = torch.rand(k, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert expansion(key, beta=rows.round() if hard else rows, normalize=normalize) <= ROWS * (1 + 1e-12)


@pytest.mark.parametrize("normalize", ["tokens", "spectral"])
def test_strengths_of_rows_can_expand_the_state_for_ever(normalize):
    """What normalisation does not prevent: gates that open row by row, in turn, on unit keys between the rows.

    The keys are as positive as softmax's. The growth is √5/2 a frame; an α of √3/2 in every row would have stopped it.
    """
    cosine = math.sqrt(1 / 3)
    assert expansion(
        torch.tensor([[cosine, math.sqrt(2 / 3)]]).double(), beta=torch.tensor([[1.0], [0.0]]), normalize=normalize
    ) == pytest.approx(ROWS)

    key = torch.tensor([math.sqrt(5 / 6), math.sqrt(1 / 6)], dtype=torch.float64)
    frames = [
        {"k": key.view(1, 1, 2), "beta": torch.tensor([[0.0], [1.0]])},
        {"k": key.flip(0).view(1, 1, 2), "beta": torch.tensor([[1.0], [0.0]])},
    ]
    S, held = (torch.tensor([[[-1.0], [1.0]]], dtype=torch.float64) for _ in range(2))
    nothing, norms = torch.zeros(1, 1, 1, dtype=torch.float64), []
    for t in range(FRAMES):
        S = frame_delta_rule(S, v=nothing, normalize=normalize, **frames[t % 2])
        held = frame_delta_rule(held, v=nothing, normalize=normalize, alpha=1 / ROWS, **frames[t % 2])
        norms.append(torch.linalg.matrix_norm(S).item())
    assert norms[-1] / norms[-2] == pytest.approx(math.sqrt(5) / 2, rel=1e-9)
    assert torch.linalg.matrix_norm(held) <= math.sqrt(2)


def test_three_rows_in_turn_expand_the_state_faster_than_two():
    """By 1.1458 a frame, between the √5/2 of two rows and the 2/√3 that no frame exceeds; the keys have signs."""
    keys = torch.tensor([[-0.51, 0.56, -0.65], [-0.65, 0.50, 0.58], [-0.57, -0.66, -0.50]], dtype=torch.float64)
    S = torch.eye(3, dtype=torch.float64)[None]
    for key, row in zip(keys, torch.eye(3, dtype=torch.float64), strict=True):
        nothing = torch.zeros(1, 1, 3, dtype=torch.float64)
        S = frame_delta_rule(S, key.view(1, 1, 3), nothing, beta=row.unsqueeze(-1), normalize="spectral")
    growth = torch.linalg.eigvals(S[0]).abs().max().item() ** (1 / 3)
    assert growth == pytest.approx(1.1458, abs=2e-4)
    assert math.sqrt(5) / 2 < growth < ROWS
