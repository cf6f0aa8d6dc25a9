"""What the device at hand reaches at most, measured in a second or two."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from memx.profile.cards import Peaks
from memx.profile.timing import synchronise

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LARGEST_SIDE = 16384
_LONG_ENOUGH = 0.02
_BUFFER_BYTES = {"cpu": 2**27, "cuda": 2**30}
_LAUNCHES = 1000


@dataclass(frozen=True)
class Measured:
    """Peaks of the device at hand, and seconds that an operator on a single number takes."""

    peaks: Peaks
    launch: float

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**self.peaks.as_dict(), "launch_us": 1e6 * self.launch}


@torch.no_grad()
def measure_peaks(device: torch.device | str, formats: Collection[str] = ()) -> Measured:
    """Measure a device; of every figure the best of some calls.

    products   of square matrices, doubled in size until a product takes 20 ms, in float32 and in `formats`; on CUDA in
               TF32, too, and on the CPU of a 3 × 3 convolution, whichever is faster
    vector     the float32 products' figure: they run on the units that elementwise operations run on, and an
               elementwise operator by itself waits for memory
    bandwidth  of a copy between buffers far larger than the caches (CPU 128 MiB, GPU 1 GiB), read and written
    launch     of the addition of 1 to one number in place, a thousand one after another
    """
    device = torch.device(device)
    wanted = dict.fromkeys(("fp32", *(("tf32",) if device.type == "cuda" else ()), *sorted(formats)))
    products = {name: _products(device, name) for name in wanted if name in _DTYPES}
    return Measured(Peaks(products, products["fp32"], _bandwidth(device)), _launch(device))


def _products(device: torch.device, form: str) -> float:
    """FLOP/s of the fastest product."""
    with _rounding(device, form):
        return max(_growing(problem, device, _DTYPES[form]) for problem in _PROBLEMS[device.type == "cpu"])


def _square(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], int]:
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b, 2 * side**3


def _convolution(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], int]:
    image = torch.rand(1, 128, side // 8, side // 8, device=device).to(dtype)
    weight = torch.rand(128, 128, 3, 3, device=device).to(dtype)
    return lambda: functional.conv2d(image, weight, padding=1), 2 * 128 * 128 * 9 * (side // 8) ** 2


_PROBLEMS = {False: (_square,), True: (_square, _convolution)}
"""What is timed: on the CPU (True) a convolution too, which its libraries may do faster than a square product."""


def _growing(
    problem: Callable[..., tuple[Callable[[], object], int]], device: torch.device, dtype: torch.dtype
) -> float:
    """FLOP/s at the best size of a problem."""
    side, best = 256, 0.0
    while True:
        call, flops = problem(side, device, dtype)
        seconds = _fastest(call, device)
        best = max(best, flops / seconds)
        if seconds > _LONG_ENOUGH or side >= _LARGEST_SIDE:
            return best
        side *= 2


def _bandwidth(device: torch.device) -> float:
    size = _BUFFER_BYTES.get(device.type, _BUFFER_BYTES["cpu"])
    source, target = (torch.ones(size // 4, device=device) for _ in range(2))
    return 2 * size / _fastest(lambda: target.copy_(source), device)


def _launch(device: torch.device) -> float:
    number = torch.zeros(1, device=device)

    def add() -> None:
        for _ in range(_LAUNCHES):
            number.add_(1)

    return _fastest(add, device) / _LAUNCHES


def _fastest(call: Callable[[], object], device: torch.device, calls: int = 5) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    call()
    seconds = []
    for _ in range(calls):
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@contextmanager
def _rounding(device: torch.device, form: str) -> Iterator[None]:
    """On CUDA, float32 products as `form` says, whatever they are set to."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if form == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
