"""ResNet, with torchvision's names for its tensors, so that public ImageNet state dicts load as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from memx.encoders.base import Encoder
from memx.encoders.norms import NORMS
from memx.encoders.pretrained import load_resnet_weights
from memx.registry import encoders

Norm = Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    """x ↦ ReLU(norm(conv3×3(ReLU(norm(conv3×3 x)))) + x): the residual block of ResNet-18 and -34."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, norm: Norm):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = norm(width)
        self.downsample = _shortcut(in_channels, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """x ↦ ReLU(norm(conv1×1(ReLU(norm(conv3×3(ReLU(norm(conv1×1 x))))))) + x): the block of ResNet-50 and -101."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, norm: Norm):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels))


_LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


@encoders.register("resnet")
class ResNet(Encoder):
    """Residual network: frame → feature maps at strides 16, 8 and 4 (or down to 8 or 32).

    Stem conv7×7 stride 2, norm, ReLU, max-pool stride 2; then one stage of residual blocks a stride. Stages beyond
    `stride` are not built. With `depth=50, width=64` the maps have 1024, 512 and 256 channels.

    Pretrained filters of the stem are adapted to `image_channels` c: with c ≠ 3 every channel gets their sum over RGB
    divided by c, so that a grey picture gives what it would give as an RGB one; channels after the picture keep their
    fresh initialisation.

    Raises CheckpointError when `weights` are not there or do not fit.

    Source: He et al., Deep residual learning for image recognition, CVPR 2016; stride in the 3×3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        image_channels: int | None = None,
        *,
        depth: Annotated[
            Literal[18, 34, 50, 101],
            Field(description="number of layers; 18 and 34 have basic blocks, 50 and 101 bottlenecks"),
        ] = 50,
        stride: Annotated[
            Literal[8, 16, 32], Field(description="stride of the deepest map; deeper stages are not built")
        ] = 16,
        width: Annotated[
            int,
            Field(
                ge=4, description="channels of the first stage; every stage doubles them; 64 is the published network"
            ),
        ] = 64,
        norm: Annotated[
            Literal["batch", "frozen", "group"],
            Field(description="batch: statistics of the batch; frozen: fixed, as loaded; group: 32 groups a picture"),
        ] = "batch",
        weights: Annotated[
            str | None,
            Field(
                description="null: random; imagenet: public ones ($MEMX_WEIGHTS, torch.hub's cache, network); or a file"
            ),
        ] = None,
    ):
        super().__init__()
        block, counts = _LAYOUTS[depth]
        counts = counts[: {8: 2, 16: 3, 32: 4}[stride]]
        make_norm = NORMS[norm]
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = make_norm(width)
        channels, maps, self.stages = width, [], []
        for i, count in enumerate(counts):
            blocks = []
            for j in range(count):
                blocks.append(block(channels, width << i, 2 if i > 0 and j == 0 else 1, make_norm))
                channels = (width << i) * block.expansion
            self.stages.append(f"layer{i + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
            maps.append(channels)
        self.channels = tuple(reversed(maps))
        self.strides = tuple(4 << i for i in reversed(range(len(counts))))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if weights is not None:
            load_resnet_weights(self, weights, depth, in_channels if image_channels is None else image_channels)

    def forward(self, x: Float[Tensor, "b c y x"]) -> tuple[Tensor, ...]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            maps.append(x)
        return tuple(reversed(maps))
