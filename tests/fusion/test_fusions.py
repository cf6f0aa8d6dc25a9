"""Fusion blocks against their equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from memx.fusion import KPFF, Add, Gated, Residual
from memx.fusion.channel_attention import ChannelAttentionBlock
from memx.registry import fusions

dims = st.integers(1, 9)


@pytest.mark.parametrize("name", fusions.names())
@settings(deadline=None, max_examples=8)
@given(x_dim=dims, y_dim=dims, out_dim=dims, height=st.integers(1, 5), width=st.integers(1, 5))
def test_any_dimensions_fuse_and_reach_every_parameter(name, x_dim, y_dim, out_dim, height, width):
    torch.manual_seed(0)
    fusion = fusions.build(name, {"x_dim": x_dim, "y_dim": y_dim, "out_dim": out_dim})
    x, y = torch.randn(2, x_dim, height, width), torch.randn(2, y_dim, height, width)
    x.requires_grad_(), y.requires_grad_()
    out = fusion(x, y)
    assert out.shape == (2, out_dim, height, width)
    out.square().sum().backward()
    assert all(p.grad is not None for p in [x, y, *fusion.parameters()])


@pytest.mark.parametrize("name", fusions.names())
def test_pictures_do_not_see_each_other(name):
    fusion = fusions.build(name, {"x_dim": 4, "y_dim": 6, "out_dim": 8}).double()
    x, y = torch.randn(3, 4, 5, 5, dtype=torch.float64), torch.randn(3, 6, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(fusion(x, y)[1:2], fusion(x[1:2], y[1:2]), atol=1e-12, rtol=0)


def test_kpff_is_its_equation():
    fusion = KPFF(4, 6, 4).double()
    x, y = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 6, 3, 3, dtype=torch.float64)
    lifted = x + F.adaptive_avg_pool2d(x, 1)
    gate = torch.sigmoid(torch.einsum("oc,bcyx->boyx", fusion.gate.weight[..., 0, 0], lifted) + fusion.gate.bias)
    expected = gate * lifted + (1 - gate) * fusion.local2(fusion.local1(y).clamp(min=0))
    torch.testing.assert_close(fusion(x, y), expected, atol=1e-12, rtol=0)
    assert gate.shape == (2, 1, 3, 3)


def test_published_kpff_has_its_published_size():
    assert sum(p.numel() for p in KPFF(64, 256, 64).parameters()) == 213_377


def test_add_of_equal_channels_is_a_sum_without_parameters():
    fusion = Add(4, 4, 4)
    x, y = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    assert list(fusion.parameters()) == []
    torch.testing.assert_close(fusion(x, y), x + y)


def test_gated_lies_between_its_inputs():
    x, y = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    out = Gated(4, 4, 4)(x, y)
    assert (out >= torch.minimum(x, y) - 1e-6).all()
    assert (out <= torch.maximum(x, y) + 1e-6).all()


def test_residual_without_blocks_is_a_sum_of_projections():
    fusion = Residual(4, 6, 8, blocks=0)
    x, y = torch.randn(1, 4, 3, 3), torch.randn(1, 6, 3, 3)
    torch.testing.assert_close(fusion(x, y), fusion.x_proj(x) + fusion.y_proj(y))


@pytest.mark.parametrize(("channels", "width"), [(1, 1), (4, 1), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5)])
def test_channel_attention_is_as_wide_as_its_equation_says(channels, width):
    with torch.device("meta"):
        assert ChannelAttentionBlock(channels).attention.kernel_size == (width,)


def test_channel_attention_weighs_channels_and_adds():
    block = ChannelAttentionBlock(16).double()
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)
    y = block.conv2(block.conv1(x.clamp(min=0)).clamp(min=0))
    kernel = block.attention.weight.flatten()
    pooled = F.pad(y.mean((2, 3)), (1, 1)).unfold(1, 3, 1) @ kernel
    torch.testing.assert_close(block(x), x + y * torch.sigmoid(pooled)[..., None, None], atol=1e-12, rtol=0)
