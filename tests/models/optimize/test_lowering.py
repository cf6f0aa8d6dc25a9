"""Every block that has a faster form calculates the same in it, and is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import memx.models.optimize.blocks  # noqa: F401  (registers the rules)
from memx.decoders.upsample import UpsampleBlock
from memx.encoders.norms import FrozenBatchNorm, group_norm
from memx.encoders.resnet import BasicBlock, Bottleneck, ResNet
from memx.fusion.channel_attention import ChannelAttentionBlock
from memx.fusion.kpff import KPFF
from memx.models.optimize.convolution import FusedConv2d
from memx.models.optimize.lowering import _RULES, Lowering
from memx.refiners.position import Sinusoid2d
from memx.sensory.gru import ConvGRU

NORMS = {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm, "group": group_norm}


def _maps(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(*shape) for shape in shapes)


CASES = {
    **{
        f"{kind.__name__}, {name}, stride {stride}": (
            kind,
            lambda kind=kind, norm=norm, stride=stride: kind(16, 4 * stride, stride, norm),
            lambda: _maps((2, 16, 12, 8)),
        )
        for kind in (BasicBlock, Bottleneck)
        for name, norm in NORMS.items()
        for stride in (1, 2)
    },
    **{
        f"ResNet-{depth}, {norm}": (
            ResNet,
            lambda depth=depth, norm=norm: ResNet(3, depth=depth, width=8, stride=32, norm=norm),
            lambda: _maps((2, 3, 64, 96)),
        )
        for depth in (18, 50)
        for norm in NORMS
    },
    "channel attention": (ChannelAttentionBlock, lambda: ChannelAttentionBlock(16), lambda: _maps((2, 16, 9, 7))),
    "kpff": (KPFF, lambda: KPFF(8, 12, 16), lambda: _maps((2, 8, 6, 5), (2, 12, 6, 5))),
    "kpff of one width": (KPFF, lambda: KPFF(16, 12, 16), lambda: _maps((2, 16, 6, 5), (2, 12, 6, 5))),
    "upsample": (UpsampleBlock, lambda: UpsampleBlock(16, 8), lambda: _maps((2, 3, 16, 4, 5), (2, 16, 8, 10))),
    "upsample, one object": (UpsampleBlock, lambda: UpsampleBlock(8, 8), lambda: _maps((1, 1, 8, 4, 5), (1, 8, 8, 10))),
    "sinusoid": (Sinusoid2d, lambda: Sinusoid2d(8), lambda: ((3, 5), torch.zeros(2))),
    "gru": (ConvGRU, lambda: ConvGRU(6, 8), lambda: _maps((2, 6, 5, 7), (2, 8, 5, 7))),
}


def test_every_rule_has_a_case():
    assert {kind for kind, _, _ in CASES.values()} == set(_RULES)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 5e-3)])
@pytest.mark.parametrize("name", CASES)
def test_a_lowered_block_is_the_block(name, dtype, within):
    """float32 takes oneDNN's convolutions; group normalisation of a few positions amplifies their rounding."""
    torch.manual_seed(0)
    _, make, inputs = CASES[name]
    block = make()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm):
            assert isinstance(module.running_mean, torch.Tensor)
            assert isinstance(module.running_var, torch.Tensor)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    block.eval().to(dtype)
    shown = tuple(x.to(dtype) if isinstance(x, torch.Tensor) else x for x in inputs())
    kept = copy.deepcopy(shown)
    weights = {key: value.clone() for key, value in block.state_dict().items()}
    with torch.no_grad():
        expected = block(*shown)
        lowered = Lowering()(block)
        for _ in range(2):
            torch.testing.assert_close(lowered(*shown), expected, atol=within, rtol=0)
        torch.testing.assert_close(shown, kept, atol=0, rtol=0)
        torch.testing.assert_close(block(*shown), expected, atol=0, rtol=0)
    assert all(torch.equal(value, weights[key]) for key, value in block.state_dict().items())
    assert type(lowered) is not type(block) or any(isinstance(module, FusedConv2d) for module in lowered.modules())


def test_positions_of_two_sizes_are_both_kept():
    """A recorded step reads them where they lie."""
    lowered = Lowering()(Sinusoid2d(8))
    like = torch.zeros(1)
    first = lowered((3, 5), like)
    assert lowered((5, 3), like) is not first
    assert lowered((3, 5), like) is first


def test_a_module_that_stands_twice_is_lowered_once():
    shared = nn.Conv2d(3, 3, 1)
    lowered = Lowering()(nn.Sequential(shared, nn.ReLU(), shared))
    assert lowered[0] is lowered[2]


def test_a_convolution_with_another_border_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    lowered = Lowering()(model)
    x = torch.randn(1, 3, 8, 8)
    assert not any(isinstance(module, FusedConv2d) for module in lowered.modules())
    assert torch.equal(lowered(x), model(x))
