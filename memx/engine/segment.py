"""What evaluation and prediction share: from a model's output to label maps at the frame's own size."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def label_map(logits: Float[Tensor, "n c y x"], size: tuple[int, int]) -> Int[Tensor, "n Y X"]:
    """The most probable of background (0) and objects (1 …) at every pixel of a frame of `size`.

    The probabilities, not the labels, are resized (bilinear), so that borders stay smooth.
    """
    probabilities = logits.float().softmax(dim=1)
    if probabilities.shape[-2:] != size:
        probabilities = functional.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)
    return probabilities.argmax(dim=1)


def inference_precision(device: str, precision: str) -> torch.autocast:
    """Autocast for inference as the recipe's `train.precision` says."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(
        torch.device(device).type, dtype=dtype if precision != "fp32" else torch.bfloat16, enabled=precision != "fp32"
    )
