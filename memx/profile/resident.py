"""Memory that the process and the device hold now, by what the system and torch's allocator say."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Bytes of the process that lie in main memory (its resident set); None where the system has no /proc.

    Whatever the process holds is in it: weights, states, what the allocator keeps for later, and the interpreter.
    See proc_pid_statm(5).
    """
    try:
        resident_pages = int(_STATM.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return resident_pages * os.sysconf("SC_PAGE_SIZE")


def release_freed() -> None:
    """Give back to the system what the C allocator keeps of freed memory, where it is glibc's: see malloc_trim(3).

    What was freed earlier would be taken into use again, and growth up to that much would not show in the resident set.
    """
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def allocated_bytes(device: torch.device | str) -> int | None:
    """Bytes of tensors on a CUDA device; None on others, where `resident_bytes` has them."""
    device = torch.device(device)
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def is_full(error: RuntimeError) -> bool:
    """Whether it says that a device's memory is used up; the CPU's allocator has no error of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
