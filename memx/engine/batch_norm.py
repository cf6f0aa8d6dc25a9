"""Batch normalisation over the batch of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics in training are those of all processes' batches: on the CPU over gloo.

    mean = Σ x / N,  var = Σ (x − mean)² / N,  N and both sums over all processes, the gradients through them included:
    what one process with the whole batch computes, to rounding. In evaluation it is BatchNorm2d. It takes over the
    tensors of the layer that it replaces.
    """

    def __init__(self, norm: nn.BatchNorm2d, group: Any):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._group = group
        self.train(norm.training)

    def forward(self, input: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes, channels = (0, 2, 3), (None, slice(None), None, None)
        number = x.new_tensor([x.numel() // x.shape[1]])
        sums = _Sum.apply(torch.cat([x.sum(axes), number]), self._group)
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = x - mean[channels]
        variance = _Sum.apply(centred.square().sum(axes), self._group) / total
        self._follow(mean.detach(), variance.detach(), total)
        out = centred * (variance + self.eps).rsqrt()[channels]
        if self.affine:
            out = out * self.weight[channels] + self.bias[channels]
        return out.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Move the running statistics, the variance's by its unbiased estimate, as BatchNorm2d does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * total / (total - 1), share)


def share_batch_norms(model: nn.Module, device: torch.device) -> bool:
    """Let every batch normalisation of a model see all processes' batches; says whether there was one.

    On a GPU torch's SyncBatchNorm does it; it has no form for the CPU. The parameters stay the same objects.
    """
    norms = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d)
    ]
    if not norms:
        return False
    group = dist.new_group()  # its own, so that its calls cannot be taken for those that sum the gradients
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model, group)
        return True
    for parent, name, child in norms:
        setattr(parent, name, SharedBatchNorm(child, group))
    return True
