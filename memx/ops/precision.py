"""What precision a recurrence is computed in: at least float32, whatever the inputs and autocast say."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 where any of the tensors is float64, else float32."""
    for x in tensors:
        if x is not None and x.dtype == torch.float64:
            return torch.float64
    return torch.float32


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast switched off on a device, so that matrix products on a state keep its precision."""
    if not torch.amp.is_autocast_available(device.type) or not torch.is_autocast_enabled(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
