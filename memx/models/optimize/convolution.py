"""Convolution for inference: normalisation folded in, weights laid out once, activation and addition in one pass."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from memx.encoders.norms import FrozenBatchNorm

Activation = Literal["none", "relu", "gelu"]

PACKS = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
"""Whether this build of torch has oneDNN's fused convolutions."""


def foldable(norm: nn.Module) -> bool:
    """Whether a normalisation is affine with fixed statistics, and so can be made part of the convolution before it."""
    return isinstance(norm, FrozenBatchNorm) or (isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats)


def folded(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of norm(conv(x)), computed in float64: w′ = s w, b′ = s (b − mean) + shift, s = γ / √(var + ε).

    Raises TypeError for a normalisation that is not `foldable`.
    """
    weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
    if norm is None:
        return weight, bias
    if not isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm) or not foldable(norm):
        raise TypeError(f"cannot fold a {type(norm).__name__} into the convolution before it")
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    zeros = torch.zeros_like(mean) if bias is None else bias
    scale = torch.ones_like(mean) if norm.weight is None else norm.weight.detach()
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach()
    eps = norm.eps if isinstance(norm, nn.BatchNorm2d) else 1e-5
    new_weight, new_bias = fuse_conv_bn_weights(
        weight.double(), zeros.double(), mean.double(), var.double(), eps, scale.double(), shift.double()
    )
    return new_weight.detach().to(weight), new_bias.detach().to(weight)


class FusedConv2d(nn.Module):
    """activation(conv(x) + other), with a normalisation after the convolution folded into its weights.

    On the CPU the weights are laid out for oneDNN once, at the first call, and activation and addition happen while the
    result is written. Elsewhere it is torch's convolution, channels-last. With `overwrite` the result may take the
    place of `other`, which is then lost.
    For inference: the weights are copies, and what is laid out is in no state dict.

    dtype  that the convolution calculates in, to which the input is brought; None: the weights'
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        norm: nn.Module | None = None,
        activation: Activation = "none",
        *,
        dtype: torch.dtype | None,
    ):
        super().__init__()
        weight, bias = folded(conv, norm)
        dtype = dtype or weight.dtype
        self.weight = nn.Parameter(
            weight.to(dtype, copy=True).contiguous(memory_format=torch.channels_last), requires_grad=False
        )
        self.bias = None if bias is None else nn.Parameter(bias.to(dtype, copy=True), requires_grad=False)
        self.activation: Activation = activation
        self.packs = PACKS and self.weight.dtype in (torch.float32, torch.bfloat16)
        self.layer = (_pair(conv.padding), _pair(conv.stride), _pair(conv.dilation), conv.groups)
        self._packed: Tensor | None = None

    def forward(
        self,
        x: Float[Tensor, "b ci y x"],
        other: Float[Tensor, "b co y2 x2"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b co y2 x2"]:
        x = channels_last(x.to(self.weight.dtype))
        if other is not None:
            other = channels_last(other.to(self.weight.dtype))
        if self.packs and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._by_onednn(x, other, overwrite)
        padding, stride, dilation, groups = self.layer
        out = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if other is not None:
            out = out + other
        if self.activation == "none":
            return out
        return out.relu() if self.activation == "relu" else F.gelu(out)

    def _by_onednn(self, x: Tensor, other: Tensor | None, overwrite: bool) -> Tensor:
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.layer, list(x.shape))
        if other is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self._packed, self.bias, *self.layer, self.activation, [], "none"
            )
        unary = "relu" if self.activation == "relu" else None
        ops, rest = torch.ops.mkldnn, (self._packed, self.bias, *self.layer, "add", None, unary, [], "none")
        if overwrite:
            out = ops._convolution_pointwise_.binary(other, x, *rest)
        else:
            out = ops._convolution_pointwise.binary(x, other, *rest)
        return F.gelu(out) if self.activation == "gelu" else out


def channels_last(x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
    """The same map with its channels side by side in memory, and with the strides by which operators know that.

    A map whose batch is 1 can lie so and have another stride for the batch; what looks at strides then takes the other
    layout, and every operator after it.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if torch.compiler.is_compiling():
        return x
    b, c, height, width = x.shape
    return x.as_strided((b, c, height, width), (c * height * width, 1, width * c, c))


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"a convolution with padding {value!r} cannot be fused; it wants two numbers")
    return value
