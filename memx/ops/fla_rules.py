"""The `fla` backend: flash-linear-attention's chunk kernels, in half precision on CUDA.

They do not keep every promise of memx.ops: a log-decay of −∞ gives NaN, one of −1e4 loses digits, and a NaN in a
future token reaches the past. So `auto` never takes them; they are asked for by name.
"""

from __future__ import annotations

import importlib
import importlib.util

import torch
from torch import Tensor

from memx.ops.call import Call


def missing() -> str | None:
    if not torch.cuda.is_available():
        return "it needs a CUDA device, and torch sees none"
    if importlib.util.find_spec("fla") is None or importlib.util.find_spec("fla.ops") is None:
        return "flash-linear-attention is not installed: pip install 'memx-video[cuda]'"
    return None


def refuses(call: Call) -> str | None:
    b, t, h, k = call.k.shape
    if not call.q.is_cuda:
        return f"its kernels run on CUDA, the tensors are on {call.q.device}"
    if call.form != "chunk":
        return f"it is offered for form 'chunk', not {call.form!r}"
    if call.chunk_size is not None:
        return "its kernels choose their own chunk size; leave chunk_size out"
    if not call.q.dtype == call.k.dtype == call.v.dtype or call.q.dtype not in (torch.float16, torch.bfloat16):
        return f"its kernels take q, k, v of one half precision, not {call.q.dtype}, {call.k.dtype}, {call.v.dtype}"
    if call.reset is not None:
        return "its kernels have no resets inside a batched sequence"
    if k > 256:
        return f"its kernels take at most 256 key channels, not {k}"
    if 0 in (b, t, h):
        return f"its kernels take no empty sequence, (b, t, h) is {(b, t, h)}"
    return None


def run(call: Call) -> tuple[Tensor, Tensor]:
    """The call on fla's kernel for it; arguments go by keyword, since their order differs between the kernels."""
    g = None if call.log_decay is None else call.log_decay.float()
    channelwise = g is not None and g.ndim == 4
    options = {
        "scale": call.scale,
        "initial_state": None if call.initial_state is None else call.initial_state.float(),
        "output_final_state": True,
    }
    beta = call.beta if call.beta is not None else call.k.new_ones(call.k.shape[:3])
    if call.erases and g is None:
        kernel = importlib.import_module("fla.ops.delta_rule").chunk_delta_rule
        out, state = kernel(q=call.q, k=call.k, v=call.v, beta=beta, **options)
    elif call.erases:
        name = "kda" if channelwise else "gated_delta_rule"
        kernel = getattr(importlib.import_module(f"fla.ops.{name}"), f"chunk_{name}")
        out, state = kernel(q=call.q, k=call.k, v=call.v, g=g, beta=beta, **options)
    else:
        g = call.k.new_zeros(call.k.shape[:3]).float() if g is None else g
        name = "gla" if channelwise else "simple_gla"
        kernel = getattr(importlib.import_module(f"fla.ops.{name}"), f"chunk_{name}")
        out, state = kernel(q=call.q, k=call.k, v=call.v, g=g, **options)
    return out, state
