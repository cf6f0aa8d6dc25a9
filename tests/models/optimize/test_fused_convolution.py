"""A fused convolution is the convolution, normalisation, addition and activation that it was made of."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from memx.encoders.norms import FrozenBatchNorm
from memx.models.optimize.convolution import FusedConv2d, channels_last, foldable, folded

ACTIVATIONS = {"none": lambda x: x, "relu": torch.relu, "gelu": F.gelu}


def _norm(kind: str, channels: int) -> nn.Module | None:
    if kind == "none":
        return None
    made = FrozenBatchNorm(channels) if kind == "frozen" else nn.BatchNorm2d(channels, eps=1e-3, affine=kind == "batch")
    assert isinstance(made.running_mean, torch.Tensor)
    assert isinstance(made.running_var, torch.Tensor)
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2)
    if kind != "bare":
        with torch.no_grad():
            made.weight.normal_()
            made.bias.normal_()
    return made.eval()


@settings(deadline=None, max_examples=40)
@given(
    st.data(),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2]),
    st.sampled_from(["none", "batch", "bare", "frozen"]),
    st.sampled_from(list(ACTIVATIONS)),
)
def test_it_is_what_it_was_made_of(data, kernel, stride, kind, activation):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    groups = data.draw(st.sampled_from([1, 2]))
    in_dim, out_dim = (groups * data.draw(st.integers(1, 5)) for _ in range(2))
    dilation, padding = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2))
    conv = nn.Conv2d(in_dim, out_dim, kernel, stride, padding, dilation, groups, bias=data.draw(st.booleans()))
    norm = _norm(kind, out_dim)
    x = torch.randn(data.draw(st.integers(1, 3)), in_dim, 11, 13)
    wide = F.conv2d(
        x.double(),
        conv.weight.double(),
        None if conv.bias is None else conv.bias.double(),
        stride,
        padding,
        dilation,
        groups,
    )
    if norm is not None:
        wide = norm.double()(wide)
        norm.float()
    other = torch.randn(wide.shape) if data.draw(st.booleans()) else None
    expected = ACTIVATIONS[activation](wide if other is None else wide + other.double())
    fused = FusedConv2d(conv, norm, activation, dtype=None)  # pyright: ignore[reportArgumentType]
    seen, kept = x.clone(), None if other is None else other.clone()
    for _ in range(2):  # the first call lays the weights out
        with torch.no_grad():
            found = fused(x, other)
        torch.testing.assert_close(found, expected.float(), atol=5e-5, rtol=5e-5)
        assert torch.equal(x, seen)
        assert other is None or torch.equal(other, kept)
    if other is not None:
        torch.testing.assert_close(fused(x, other, overwrite=True), expected.float(), atol=5e-5, rtol=5e-5)


def test_float64_stays_float64():
    conv = nn.Conv2d(3, 4, 3, padding=1).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(FusedConv2d(conv, dtype=None)(x), conv(x), atol=1e-12, rtol=0)


def test_the_weights_are_copies():
    conv = nn.Conv2d(3, 4, 1)
    x = torch.randn(1, 3, 5, 5)
    fused = FusedConv2d(conv, dtype=None)
    before = fused(x)
    with torch.no_grad():
        conv.weight.zero_()
    assert torch.equal(fused(x), before)


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 4), nn.BatchNorm2d(4, track_running_stats=False)])
def test_statistics_of_the_input_cannot_be_folded(norm):
    assert not foldable(norm)
    with pytest.raises(TypeError, match=type(norm).__name__):
        folded(nn.Conv2d(3, 4, 1), norm)


def test_a_map_of_one_clip_gets_the_strides_that_operators_look_at():
    x = torch.randn(1, 8, 8, 8)
    odd = torch.empty_strided((1, 8, 8, 8), (8, 1, 64, 8)).copy_(x)
    found = channels_last(odd)
    assert torch.equal(found, odd)
    assert found.stride() == (512, 1, 64, 8)
    assert found.data_ptr() == odd.data_ptr()
