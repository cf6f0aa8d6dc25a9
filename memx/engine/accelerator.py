"""accelerate's part of a run: device, precision, processes."""

from __future__ import annotations

import accelerate
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from memx.errors import UserError
from memx.recipe import Train


def refuse_precision(train: Train, device: str) -> None:
    """Raise UserError where a device cannot train in the recipe's precision."""
    if train.precision == "fp16" and torch.device(device).type == "cpu":
        raise UserError("train.precision=fp16 needs a GPU; on the CPU take bf16 or fp32")


def make_accelerator(train: Train, device: str) -> accelerate.Accelerator:
    """An accelerator for a recipe's `train:` section on a device, whatever another run of this process had asked for.

    Raises UserError when the precision or the device cannot be had.
    """
    refuse_precision(train, device)
    AcceleratorState._reset_state(True)  # a second run in one process may ask for another precision
    chosen = torch.device(device)
    if chosen.type == "cuda" and chosen.index is not None:  # without a number each process takes its own
        torch.cuda.set_device(chosen)
    accelerator = accelerate.Accelerator(
        mixed_precision={"fp32": "no"}.get(train.precision, train.precision),
        cpu=chosen.type == "cpu",
        # A component may have parameters that a batch, or every batch, leaves without a gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.device.type != chosen.type:
        raise UserError(f"--device {device}: accelerate chose {accelerator.device}; it is cpu or cuda[:n]")
    return accelerator
