"""Soft aggregation and the upsampling decoder."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.decoders import Upsample, soft_aggregate


@settings(deadline=None, max_examples=20)
@given(objects=st.integers(1, 4), seed=st.integers(0, 99))
def test_aggregated_logits_are_the_log_odds_of_each(objects, seed):
    p = torch.rand(2, objects, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits = soft_aggregate(p)
    assert logits.shape == (2, objects + 1, 3, 3)
    expected = torch.cat([(1 - p).prod(1, keepdim=True), p], dim=1).clamp(1e-7, 1 - 1e-7)
    torch.testing.assert_close(logits.sigmoid(), expected, atol=1e-12, rtol=0)
    order = torch.randperm(objects)
    torch.testing.assert_close(soft_aggregate(p[:, order])[:, 1:], logits[:, 1:][:, order], atol=1e-12, rtol=0)


def test_certain_objects_stay_finite():
    p = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    logits = soft_aggregate(p)
    logits.softmax(1).sum().backward()
    assert logits.isfinite().all()
    assert p.grad is not None
    assert p.grad.isfinite().all()
    assert logits.argmax(1).tolist() == [2, 1, 0]


def test_low_precision_is_raised_to_float32():
    assert soft_aggregate(torch.rand(1, 2, dtype=torch.bfloat16)).dtype == torch.float32
    assert soft_aggregate(torch.rand(1, 2, dtype=torch.float64)).dtype == torch.float64


def test_the_decoder_doubles_the_size_at_each_skip():
    decoder = Upsample(16, (12, 6), dim=8)
    assert decoder.channels == (16, 8, 8)
    skips = (torch.randn(2, 12, 6, 8), torch.randn(2, 6, 12, 16))
    logits, maps = decoder(torch.randn(2, 3, 16, 3, 4), skips)
    assert logits.shape == (2, 3, 12, 16)
    assert [x.shape for x in maps] == [(2, 3, 16, 3, 4), (2, 3, 8, 6, 8), (2, 3, 8, 12, 16)]


def test_objects_and_clips_do_not_see_each_other():
    decoder = Upsample(8, (4, 4), dim=8).double()
    pixels = torch.randn(2, 3, 8, 2, 2, dtype=torch.float64)
    skips = (torch.randn(2, 4, 4, 4, dtype=torch.float64), torch.randn(2, 4, 8, 8, dtype=torch.float64))
    whole = decoder(pixels, skips)[0]
    alone = decoder(pixels[1:, 2:], tuple(x[1:] for x in skips))[0]
    torch.testing.assert_close(whole[1:, 2:], alone, atol=1e-12, rtol=0)


def test_the_published_decoder_has_its_published_size():
    """4,606,849 with the sensory update, which is the sensory state's here: 256 → 128 → 128 → 1."""
    sensory = sum(256 * c + 256 for c in (256, 128, 129)) + 768 * 512 * 9 + 768
    assert sum(p.numel() for p in Upsample(256, (512, 256)).parameters()) == 4_606_849 - sensory
