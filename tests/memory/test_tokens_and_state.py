"""Tokens and State: batches, frames, devices of one kind, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils import _pytree

from memx.memory import State, Tokens
from memx.memory.state import cat_batch, where_batch


def clip():
    return Tokens(
        torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5), torch.rand(2, 3, 1, 4, 6), None, torch.rand(2, 3) < 0.5
    )


def state():
    return State(S=torch.rand(3, 2), inner=State(count=torch.arange(3), flag=torch.tensor([True, False, True])))


def test_a_clip_is_its_frames_its_items_and_its_fold():
    tokens = clip()
    frames = list(tokens.frames())
    assert len(frames) == 3
    assert torch.equal(frames[1].value, tokens.value[:, 1])
    assert torch.equal(frames[1].reset, tokens.reset[:, 1])
    assert tokens.slice(1, 3).key.shape == (2, 2, 4, 5)
    assert torch.equal(tokens[1:2].reset, tokens.reset[1:2])
    with pytest.raises(TypeError, match="tokens\\[i : i \\+ 1\\]"):
        _ = tokens[0]
    folded = tokens.fold()
    assert folded.value.shape == (6, 1, 4, 6)
    assert torch.equal(folded.key[4], tokens.key[1, 1])
    assert folded.feature is None
    assert torch.equal(tokens.map(lambda x: x + 1).reset, tokens.reset)


def test_a_state_is_frozen_and_holds_only_tensors():
    with pytest.raises(AttributeError, match=r"use state.replace\(S=…\)"):
        state().S = torch.zeros(1)
    with pytest.raises(AttributeError, match="state has no 'T'; it has S, inner"):
        _ = state().T
    with pytest.raises(TypeError, match="'S' is a float"):
        State(S=1.0)
    with pytest.raises(TypeError, match="state\\[i : i \\+ 1\\]"):
        state()[0]


def test_a_state_moves_indexes_joins_and_goes_through_pytree_and_copy():
    one = state()
    double = one.to(dtype=torch.float64)
    assert (double.S.dtype, double.inner.count.dtype, double.inner.flag.dtype) == (
        torch.float64,
        torch.int64,
        torch.bool,
    )
    assert one.nbytes == 3 * 2 * 4 + 3 * 8 + 3
    joined = cat_batch([one[0:1], one[1:3]])
    leaves, tree = _pytree.tree_flatten(one)
    for other in (joined, _pytree.tree_unflatten(leaves, tree), copy.deepcopy(one)):
        assert list(other.tensors()) == ["S", "inner/count", "inner/flag"]
        assert all(torch.equal(a, b) for a, b in zip(other.tensors().values(), one.tensors().values(), strict=True))
    picked = where_batch(torch.tensor([True, False, False]), one.map(torch.zeros_like), one)
    assert torch.equal(picked.S[0], torch.zeros(2))
    assert torch.equal(picked.S[1:], one.S[1:])


def test_a_failed_save_leaves_no_file_behind(tmp_path):
    path = tmp_path / "state.safetensors"
    state().save(path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="meta"):
        State(S=torch.zeros(2, device="meta")).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
