"""What other counters say of a streamed frame, and why they differ from what memx counts."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from memx.export.step import Step
from memx.memory.state import State
from memx.models.base import VideoModel

_PRODUCTS = ("conv", "linear", "matmul", "einsum", "addmm", "bmm", "mm", "baddbmm")


@dataclass(frozen=True)
class Other:
    """Multiply-accumulates by another tool, and what it leaves out or takes in."""

    tool: str
    macs: int
    says: str


@torch.no_grad()
def by_torch(model: VideoModel, frame: Tensor, state: State) -> Other:
    """torch's FlopCounterMode, halved. On the CPU it gives fused attention 0, which its plain form shows."""
    fused, plain = _flop_counter(model, frame, state, fused=True), _flop_counter(model, frame, state, fused=False)
    left_out = plain - fused
    says = f"fused attention as 0: {left_out / 1e6:,.2f} M left out" if left_out else "products only"
    return Other("torch.utils.flop_counter", fused, says)


def _flop_counter(model: VideoModel, frame: Tensor, state: State, *, fused: bool) -> int:
    attention = nullcontext() if fused else sdpa_kernel(SDPBackend.MATH)
    with attention, FlopCounterMode(display=False) as counter:
        model.step(frame, state)
    return counter.get_total_flops() // 2


@torch.no_grad()
def by_fvcore(model: VideoModel, frame: Tensor, state: State) -> Other:
    """fvcore's count of the traced step: products, without what it counts of normalisation and resizing.

    fvcore gives fused attention 0, takes the batch of the first operand where the operands of a product broadcast, and
    sees a traced graph, from which work is removed that no output needs.
    """
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    tensors = state.tensors()
    found = FlopCountAnalysis(Step(model, tuple(tensors)), (frame, *tensors.values()))
    found.unsupported_ops_warnings(False)
    found.uncalled_modules_warnings(False)
    by_operator = found.by_operator()
    products = sum(round(count) for name, count in by_operator.items() if name in _PRODUCTS)
    rest = sum(round(count) for name, count in by_operator.items()) - products
    attention = found.unsupported_ops().get("aten::scaled_dot_product_attention", 0)
    parts = [f"without {rest / 1e6:,.2f} M of normalisation and resizing that it counts as well"]
    if attention:
        parts.append(f"{attention} fused attentions as 0")
    parts.append("broadcast products once, work without an output not at all")
    return Other("fvcore", products, "; ".join(parts))
