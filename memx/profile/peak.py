"""Peak memory of a call: the most bytes of tensors that were alive at once, its inputs not counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def peak_bytes(function: Callable[[], object], device: torch.device | str = "cpu", *, warm: bool = False) -> int:
    """The most bytes that `function` held at once beyond what was allocated before, result and saved tensors included.

    On the CPU this is exact: every allocation and release of torch's allocator, in order, as torch's profiler records
    them. What a BLAS library holds for itself is not in it. On CUDA it is torch.cuda.max_memory_allocated, which rounds
    each tensor up to 512 bytes. The function is called once before, so that what is made once only is not counted;
    `warm` says that it has been called already.
    Raises ValueError for a device that keeps no such record.
    """
    device = torch.device(device)
    if device.type in ("cpu", "cuda") and not warm:
        function()
    if device.type == "cpu":
        return _peak_on_cpu(function)
    if device.type == "cuda":
        return _peak_on_cuda(function, device)
    raise ValueError(f"peak_bytes: torch records no allocations on {device.type}; there are cpu and cuda")


def _peak_on_cpu(function: Callable[[], object]) -> int:
    profile = torch.autograd.profiler.profile(profile_memory=True)
    with _silent_log(), profile:
        result = function()
        del result
    record = profile.kineto_results
    assert record is not None
    events = [
        (event.start_ns(), event.nbytes())  # pyright: ignore[reportAttributeAccessIssue]  (its stub lacks it)
        for event in record.events()
        if event.name() == "[memory]"
    ]
    live = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        live += size
        peak = max(peak, live)
    return peak


def _peak_on_cuda(function: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = function()
    torch.cuda.synchronize(device)
    del result
    return torch.cuda.max_memory_allocated(device) - before


@contextmanager
def _silent_log() -> Iterator[None]:
    """The profiler's library writes two lines to standard error whenever it starts and stops, past Python's stream."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  (a device, not a file)
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
