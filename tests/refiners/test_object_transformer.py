"""Object summary, attention and the object transformer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from memx.refiners import ObjectSummary, ObjectTransformer
from memx.refiners.attention import Attention, halves
from memx.refiners.object_summary import mean_of
from memx.refiners.position import sinusoid_2d

f64 = torch.float64


def test_positions_are_their_equation():
    code = sinusoid_2d((3, 5), 8, scale=32, temperature=128, dtype=f64).unflatten(0, (3, 5))
    for y, x in ((0, 0), (2, 1), (1, 4)):
        for half, p, length in ((0, x, 5), (4, y, 3)):
            for i in range(2):
                angle = p / (length - 1 + 1e-6) * 32 * 128 ** (-2 * i / 4)
                assert code[y, x, half + 2 * i] == pytest.approx(math.sin(angle), abs=1e-9)
                assert code[y, x, half + 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-9)
    with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
        sinusoid_2d((3, 3), 6)


def test_a_map_of_one_position_has_a_finite_code():
    assert sinusoid_2d((1, 1), 8).isfinite().all()


def test_attention_equals_torchs():
    ours, theirs = Attention(12, 3).to(f64), nn.MultiheadAttention(12, 3, batch_first=True, dtype=f64)
    names = {"in_proj_weight": "in_proj.weight", "in_proj_bias": "in_proj.bias"}
    ours.load_state_dict({names.get(k, k): x for k, x in theirs.state_dict().items()})
    q, k, v = torch.randn(2, 4, 12, dtype=f64), torch.randn(2, 7, 12, dtype=f64), torch.randn(2, 7, 12, dtype=f64)
    visible = halves(torch.rand(2, 7) > 0.5, 4)
    expected = theirs(q, k, v, attn_mask=~visible.repeat_interleave(3, 0), need_weights=False)[0]
    torch.testing.assert_close(ours(q, k, v, visible), expected, atol=1e-12, rtol=0)


def test_half_of_the_queries_see_the_foreground_and_half_the_rest():
    foreground = torch.tensor([[True, True, False], [False, False, False]])
    visible = halves(foreground, 4)
    assert visible[0, :2].tolist() == [[True, True, False]] * 2
    assert visible[0, 2:].tolist() == [[False, False, True]] * 2
    assert visible[1].all(), "who would see nothing sees everything"


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (f64, 1e-15)])
def test_equal_objects_share_the_foreground_and_unequal_ones_do_not(dtype, rounding):
    """A gap within rounding is a tie; one of ten thousand times as much decides."""
    refiner = ObjectTransformer(8, 8, queries=2, blocks=1, heads=2, ffn_dim=8)
    for gap, shared in ((rounding, True), (1e4 * rounding, False)):
        # two objects at three positions: about equal, neither, the second
        logits = torch.tensor([[0.5, -3.0, -3.0], [0.5 - 4 * gap, -3.0, 2.0]], dtype=dtype)[None, :, None]
        first, second = refiner._visible(logits)[:, 0].tolist()
        assert first == [True, False, False]
        assert second == [shared, False, True]


def test_a_summary_looks_at_the_mask_and_at_the_rest():
    summary = ObjectSummary(6, 8, 4).to(f64)
    value, inside = torch.randn(1, 6, 4, 4, dtype=f64), torch.zeros(1, 4, 4, dtype=f64)
    inside[:, :2] = 1
    changed = value.clone()
    changed[:, :, 2:] += 1
    a, b = summary(inside, value), summary(inside, changed)
    assert a.shape == (1, 4, 9)
    torch.testing.assert_close(a[:, :2], b[:, :2], atol=1e-12, rtol=0)
    assert (a[:, 2:] - b[:, 2:]).abs().max() > 1e-3


def test_added_summaries_give_the_mean_over_both_frames():
    summary = ObjectSummary(6, 8, 4).to(f64)
    a, b = (summary(torch.rand(1, 4, 4, dtype=f64), torch.randn(1, 6, 4, 4, dtype=f64)) for _ in range(2))
    expected = (mean_of(a) * (a[..., -1:] + 1e-4) + mean_of(b) * (b[..., -1:] + 1e-4)) / (a + b + 1e-4)[..., -1:]
    torch.testing.assert_close(mean_of(a + b), expected, atol=1e-12, rtol=0)


@pytest.fixture
def refiner():
    torch.manual_seed(0)
    return ObjectTransformer(16, 12, queries=4, blocks=2, heads=2, ffn_dim=32).to(f64)


def inputs(batch: int = 2, objects: int = 3):
    return (
        torch.randn(batch, objects, 16, 4, 5, dtype=f64),
        torch.rand(batch, objects, 4, 5, dtype=f64),
        torch.randn(batch, objects, 12, 4, 5, dtype=f64),
    )


def test_the_first_frame_knows_itself_and_a_later_one_what_was_before(refiner):
    pixels, mask, value = inputs()
    fresh = refiner.init_state(2, 3, dtype=f64)
    first, levels, state = refiner(pixels, mask, value, fresh)
    assert levels.shape == (2, 3, 3, 4, 5)
    torch.testing.assert_close(refiner(pixels, mask, value, state)[0], first, atol=1e-12, rtol=0)
    again = refiner(pixels, mask, -value, state)
    torch.testing.assert_close(again[0], first, atol=1e-12, rtol=0)
    assert (refiner(pixels, mask, value, again[2])[0] - first).abs().max() > 1e-6


def test_permuting_objects_permutes_the_result(refiner):
    pixels, mask, value = inputs()
    state, order = refiner.init_state(2, 3, dtype=f64), [1, 2, 0]
    out, levels, after = refiner(pixels, mask, value, state)
    swapped = refiner(pixels[:, order], mask[:, order], value[:, order], state)
    torch.testing.assert_close(swapped[0], out[:, order], atol=1e-10, rtol=0)
    torch.testing.assert_close(swapped[1], levels[:, order], atol=1e-10, rtol=0)
    torch.testing.assert_close(swapped[2].summary, after.summary[:, order], atol=1e-10, rtol=0)


def test_without_auxiliary_there_are_no_heads():
    refiner = ObjectTransformer(16, 12, False, queries=4, blocks=1, heads=2, ffn_dim=32)
    assert len(refiner.mask_heads) == 0
    pixels, mask, value = (x.float() for x in inputs())
    assert refiner(pixels, mask, value, refiner.init_state(2, 3))[1] is None


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="attention over 16 channels cannot have 3 heads"):
        ObjectTransformer(16, 12, heads=3)
