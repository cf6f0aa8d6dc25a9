"""The precision that a network is run in."""

from __future__ import annotations

import torch

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a recipe's `train.precision` says."""


def inference_precision(device: str, precision: str) -> torch.autocast:
    """Autocast for inference as the recipe's `train.precision` says."""
    enabled = precision != "fp32"
    return torch.autocast(
        torch.device(device).type, dtype=DTYPES[precision] if enabled else torch.bfloat16, enabled=enabled
    )
