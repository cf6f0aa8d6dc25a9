"""ConvGRU and ConvLSTM memories against their equations on concatenated maps, and their maps' grid."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from memx.errors import RecipeError
from memx.memory import State, Tokens, memories
from memx.memory.state import cat_batch

B, T, OBJECTS, K, V, GRID = 2, 3, 2, 4, 6, (3, 5)
N = GRID[0] * GRID[1]
FACTS = {"key_dim": K, "value_dim": V}
NAMES = ["conv_gru", "conv_lstm"]
TOLERANCE = {"atol": 1e-12, "rtol": 1e-12}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clip(size: tuple[int, int] | None = GRID, reset=None):
    n = N if size is None else size[0] * size[1]
    query = normal(B, T, n, K, seed=1)
    return Tokens(normal(B, T, n, K), query, normal(B, T, OBJECTS, n, V, seed=2), None, reset, size)


def build(name, **options):
    torch.manual_seed(0)
    return memories.build(name, FACTS, **options).double()


def gru(memory, x, maps):
    """ConvGRU of one object: x (b k+v y x) is key and value map."""
    (h,) = maps

    def conv(layer, h):
        return F.conv2d(torch.cat([x, h], 1), layer.weight, layer.bias, padding=memory.kernel // 2)

    z, r = torch.sigmoid(conv(memory.gates, h)).chunk(2, 1)
    return ((1 - z) * h + z * torch.tanh(conv(memory.candidate, r * h)),)


def lstm(memory, x, maps):
    """ConvLSTM of one object."""
    h, c = maps
    gates = F.conv2d(torch.cat([x, h], 1), memory.gates.weight, memory.gates.bias, padding=memory.kernel // 2)
    i, f, o, g = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize(("name", "cell", "maps"), [("conv_gru", gru, 1), ("conv_lstm", lstm, 2)])
def test_a_clip_follows_the_equation_object_by_object(name, cell, maps, kernel):
    memory, tokens = build(name, kernel=kernel), clip()
    out, state = memory.scan(tokens)
    for o in range(OBJECTS):
        held = tuple(torch.zeros(B, V, *GRID, dtype=torch.float64) for _ in range(maps))
        for t in range(T):
            x = torch.cat([tokens.key[:, t], tokens.value[:, t, o]], -1).mT.reshape(B, K + V, *GRID)
            held = cell(memory, x, held)
            torch.testing.assert_close(out[:, t, o], held[0].flatten(2).mT, **TOLERANCE)
        for got, want in zip(state.tensors().values(), held, strict=True):
            torch.testing.assert_close(got[:, o], want, **TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_recalled_stays_within_one_and_the_query_has_no_say(name):
    memory, tokens = build(name), clip()
    large = tokens.map(lambda x: 1e3 * x)
    out, _ = memory.scan(large)
    assert out.abs().max() <= 1
    other, _ = memory.scan(large.replace(query=normal(B, T, N, K, seed=9)))
    assert torch.equal(out, other)


def test_the_forget_gate_of_an_lstm_starts_at_its_bias():
    bias = memories.build("conv_lstm", FACTS, forget_bias=2.5).gates.bias
    assert bias[V : 2 * V].tolist() == [2.5] * V
    assert bias[:V].abs().max() < 1
    assert bias[2 * V :].abs().max() < 1


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_state_has_no_grid_yet_and_recalls_zeros(name):
    memory, tokens = build(name), clip()
    empty = memory.init_state(B, OBJECTS, dtype=torch.float64)
    assert [x.shape for x in empty.tensors().values()] == [(B, OBJECTS, V, 0, 0)] * len(memory.maps)
    assert empty.nbytes == 0
    assert torch.equal(memory.read(empty, tokens.frame(0)), torch.zeros(B, OBJECTS, N, V).double())
    zeros = empty.map(lambda x: x.new_zeros(*x.shape[:3], *GRID))
    want, _ = memory.step(zeros, tokens.frame(0))
    assert torch.equal(memory.step(empty, tokens.frame(0))[0], want)


@pytest.mark.parametrize("name", NAMES)
def test_a_reset_keeps_the_grid_and_nothing_else(name):
    memory, tokens = build(name), clip()
    _, state = memory.scan(tokens)
    state = state.map(lambda x: torch.full_like(x, torch.nan))
    frame = tokens.frame(0)
    want, _ = memory.step(memory.init_state(B, OBJECTS, dtype=torch.float64), frame)
    got, _ = memory.step(state, frame.replace(reset=torch.tensor([True, False])))
    assert torch.equal(got[0], want[0])
    assert got[1].isnan().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_that_is_not_given_or_not_the_same_is_refused(name):
    memory, tokens = build(name), clip()
    with pytest.raises(ValueError, match=r"needs Tokens\.size, \(y, x\) of the frame's tokens, which is None"):
        memory.scan(clip(None))
    _, state = memory.scan(tokens)
    with pytest.raises(ValueError, match=r"holds maps of 3 × 5 and cannot take a frame whose Tokens\.size is 5 × 3"):
        memory.scan(tokens.replace(size=(5, 3)), state)
    with pytest.raises(ValueError, match="is 2 × 2"):
        memory.read(state, clip((2, 2)).frame(0))


@pytest.mark.parametrize("name", NAMES)
def test_states_are_joined_item_by_item_and_saved(name, tmp_path):
    memory, tokens = build(name), clip()
    _, state = memory.scan(tokens)
    joined = cat_batch([state[:1], state[1:]])
    state.save(tmp_path / "state.safetensors")
    loaded = State.load(tmp_path / "state.safetensors")
    want, _ = memory.scan(tokens, state)
    for other in (joined, loaded):
        assert torch.equal(memory.scan(tokens, other)[0], want)


@pytest.mark.parametrize("name", NAMES)
def test_more_objects_do_not_repeat_the_key_s_part(name):
    memory, gates = build(name), {"conv_gru": 3, "conv_lstm": 4}[name]
    counts = []
    for objects in (1, 5):
        tokens = clip().replace(value=normal(B, T, objects, N, V))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            memory.scan(tokens)
        counts.append(counter.get_total_flops())
    assert counts[1] - counts[0] == 2 * B * T * N * 9 * 4 * 2 * V * gates * V


@pytest.mark.parametrize("name", NAMES)
def test_other_forms_and_even_kernels_are_refused_with_the_reason(name):
    with pytest.raises(ValueError, match="the gates of a frame need the hidden map before it"):
        build(name).scan(clip(), form="chunk")
    with pytest.raises(RecipeError, match="kernel"):
        memories.build(name, FACTS, kernel=2)
