"""The network's blocks as they are calculated for inference: the same equations, with fused convolutions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memx.decoders.upsample import UpsampleBlock
from memx.encoders.base import Encoder
from memx.encoders.resnet import BasicBlock, Bottleneck, ResNet
from memx.fusion.base import Fusion
from memx.fusion.channel_attention import ChannelAttentionBlock
from memx.fusion.kpff import KPFF
from memx.models.optimize.convolution import channels_last, foldable
from memx.models.optimize.lowering import Lowering, lowers
from memx.refiners.position import Sinusoid2d
from memx.sensory.gru import ConvGRU


class _ResidualBlock(nn.Module):
    """ReLU(conv_n(… ReLU(conv_1 x)) + shortcut x), the addition within the last convolution.

    owns_input  nobody else needs the input, so that the result may take its place
    """

    def __init__(self, convs: list[nn.Module], shortcut: nn.Module | None):
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.shortcut = shortcut
        self.owns_input = False

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        out = x
        for conv in list(self.convs)[:-1]:
            out = conv(out)
        if self.shortcut is None:
            return self.convs[-1](out, x, overwrite=self.owns_input)
        return self.convs[-1](out, self.shortcut(x), overwrite=True)


@lowers(BasicBlock, Bottleneck)
def _residual_block(block: BasicBlock | Bottleneck, lowering: Lowering) -> nn.Module | None:
    if not foldable(block.bn1):
        return None
    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        pairs.append((block.conv3, block.bn3))
    shortcut = None
    if block.downsample is not None:
        conv, norm = block.downsample.children()
        assert isinstance(conv, nn.Conv2d)
        shortcut = lowering.conv(conv, norm)
    return _ResidualBlock([lowering.conv(conv, norm, "relu") for conv, norm in pairs], shortcut)


class _ResNet(Encoder):
    def __init__(self, stem: nn.Module, stages: list[nn.Module]):
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Float[Tensor, "b c y x"]) -> tuple[Tensor, ...]:
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(reversed(maps))


@lowers(ResNet)
def _resnet(encoder: ResNet, lowering: Lowering) -> nn.Module | None:
    if not foldable(encoder.bn1):
        return None
    stages = [lowering(encoder.get_submodule(stage)) for stage in encoder.stages]
    for stage in stages:
        for block in list(stage.children())[1:]:  # what comes from the block before goes nowhere else
            if isinstance(block, _ResidualBlock):
                block.owns_input = True
    made = _ResNet(lowering.conv(encoder.conv1, encoder.bn1, "relu"), stages)
    made.channels, made.strides = encoder.channels, encoder.strides
    return made


class _ChannelAttentionBlock(nn.Module):
    def __init__(self, conv1: nn.Module, conv2: nn.Module, attention: nn.Module):
        super().__init__()
        self.conv1, self.conv2, self.attention = conv1, conv2, attention

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        y = self.conv2(self.conv1(F.relu(x)))
        weight = self.attention(y.mean((2, 3))[:, None]).sigmoid()
        return torch.addcmul(x, y, weight[:, 0, :, None, None])


@lowers(ChannelAttentionBlock)
def _channel_attention(block: ChannelAttentionBlock, lowering: Lowering) -> nn.Module:
    return _ChannelAttentionBlock(
        lowering.conv(block.conv1, None, "relu"), lowering.conv(block.conv2), lowering(block.attention)
    )


class _KPFF(Fusion):
    def __init__(self, x_proj: nn.Module, local: nn.Module, gate: nn.Module):
        super().__init__()
        self.x_proj, self.local, self.gate = x_proj, local, gate

    def forward(self, x: Float[Tensor, "b cx y x"], y: Float[Tensor, "b cy y x"]) -> Float[Tensor, "b c y x"]:
        x = self.x_proj(x)
        x = x + x.mean((2, 3), keepdim=True)
        local = self.local(y)
        return local + self.gate(x).sigmoid() * (x - local)


@lowers(KPFF)
def _kpff(fusion: KPFF, lowering: Lowering) -> nn.Module:
    local = nn.Sequential(lowering.conv(fusion.local1, None, "relu"), lowering.conv(fusion.local2))
    return _KPFF(lowering(fusion.x_proj), local, lowering.conv(fusion.gate))


class _UpsampleBlock(nn.Module):
    def __init__(self, conv1: nn.Module, conv2: nn.Module, proj: nn.Module):
        super().__init__()
        self.conv1, self.conv2, self.proj = conv1, conv2, proj

    def forward(self, x: Float[Tensor, "b o c y x"], skip: Float[Tensor, "b c y2 x2"]) -> Tensor:
        b, o = x.shape[:2]
        up = F.interpolate(channels_last(x.flatten(0, 1)), scale_factor=2, mode="bilinear", align_corners=False)
        s = up.add_(skip) if o == 1 else (up.unflatten(0, (b, o)) + skip[:, None]).flatten(0, 1)
        return (self.proj(s) + self.conv2(self.conv1(s))).unflatten(0, (b, o))


@lowers(UpsampleBlock)
def _upsample(block: UpsampleBlock, lowering: Lowering) -> nn.Module:
    return _UpsampleBlock(
        lowering.conv(block.conv1, None, "gelu"), lowering.conv(block.conv2, None, "gelu"), lowering(block.proj)
    )


class _ConvGRU(nn.Module):
    def __init__(self, gates: nn.Module):
        super().__init__()
        self.gates = gates

    def forward(self, g: Float[Tensor, "b c y x"], h: Float[Tensor, "b k y x"]) -> Float[Tensor, "b k y x"]:
        seen = torch.cat([channels_last(g.to(h.dtype)), channels_last(h)], dim=1)
        forget, update, new = self.gates(seen).to(h.dtype).chunk(3, dim=1)
        update = update.sigmoid()
        return torch.addcmul(forget.sigmoid().mul_(h).mul_(1 - update), update, new.tanh())


@lowers(ConvGRU)
def _conv_gru(gru: ConvGRU, lowering: Lowering) -> nn.Module:
    return _ConvGRU(lowering.conv(gru.gates))


class _RememberedSinusoid(nn.Module):
    """The positions of a map, which are those of the next one as well: calculated once a size.

    They are kept for good, since a recorded step reads them where they lie.
    """

    def __init__(self, made: Sinusoid2d):
        super().__init__()
        self.made = made
        self._made: dict[object, Tensor] = {}

    def forward(self, size: tuple[int, int], like: Tensor) -> Float[Tensor, "n c"]:
        if torch.compiler.is_compiling():
            return self.made(size, like)
        key = (size, like.device, like.dtype)
        if key not in self._made:
            self._made[key] = self.made(size, like)
        return self._made[key]


@lowers(Sinusoid2d)
def _sinusoid(position: Sinusoid2d, lowering: Lowering) -> nn.Module:
    return _RememberedSinusoid(position)
