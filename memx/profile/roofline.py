"""The roofline of a streamed frame: the time that a device with given peaks needs at the least, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from memx.errors import UserError
from memx.profile.arithmetic import Call
from memx.profile.cards import Peaks
from memx.profile.components import Component

Resource = Literal["arithmetic", "memory"]

_FORMATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class StageBound:
    """What a stage needs at the least.

    calls       operators that calculate or move numbers
    arithmetic  seconds if memory were infinitely fast
    traffic     seconds if arithmetic were
    seconds     with both: of every operator the longer of the two, one after another
    waiting     of these, the seconds of operators that memory binds
    """

    stage: str
    calls: int
    flops: int
    bytes: int
    arithmetic: float
    traffic: float
    seconds: float
    waiting: float

    @property
    def bound_by(self) -> Resource:
        """What binds the operators in which most of its time passes."""
        return "memory" if self.waiting > self.seconds / 2 else "arithmetic"

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As plain data; times in milliseconds."""
        return {
            "stage": self.stage or "model",
            "operators": self.calls,
            "flops": self.flops,
            "bytes": self.bytes,
            "bound_by": self.bound_by,
            "arithmetic_ms": 1000 * self.arithmetic,
            "memory_ms": 1000 * self.traffic,
            "bound_ms": 1000 * self.seconds,
            "in_operators_that_memory_binds_ms": 1000 * self.waiting,
        }


@dataclass(frozen=True)
class Bound:
    """The bound of a frame, the sum of its stages'."""

    stages: tuple[StageBound, ...]

    @property
    def whole(self) -> StageBound:
        """All stages as one."""
        kinds = ("calls", "flops", "bytes", "arithmetic", "traffic", "seconds", "waiting")
        return StageBound("", *(sum(getattr(stage, kind) for stage in self.stages) for kind in kinds))

    @property
    def seconds(self) -> float:
        return self.whole.seconds

    @property
    def binding(self) -> StageBound:
        """The stage that takes the largest part."""
        return max(self.stages, key=lambda stage: stage.seconds)


def bound(frame: Component, peaks: Peaks) -> Bound:
    """The least time that a device with these peaks needs for what was counted, one operator after another.

    T = Σ over operators of max(2 MACs / P_format + pointwise / P_vector, bytes / B)

    Every operator finds its inputs in the device's memory and leaves its result there, reaches the peaks while it runs,
    and starts at no cost. Launches are not in it, so that it is too low where operators are small. It can be too high
    where results stay in a cache, and for convolutions by transforms with fewer operations than they are counted as.
    Stages are the model's own parts, and what it does itself. Float32 products are TF32 where torch's settings allow it
    and the device has it. Raises UserError for products in a format that the device has no peak for.

    Source: Williams, Waterman, Patterson: Roofline: an insightful visual performance model for multicore architectures.
    Communications of the ACM 52(4), 2009.
    """
    return Bound(tuple(_stage(name, calls, peaks) for name, calls in _stages(frame) if calls))


def formats(frame: Component) -> set[str]:
    """The number formats of its products: fp32, bf16, fp16."""
    return {_FORMATS.get(call.format, call.format) for call in frame.whole.calls if call.macs}


def _stages(frame: Component) -> Iterator[tuple[str, Mapping[Call, int]]]:
    for part in frame.parts:
        yield part.path, part.whole.calls
    yield frame.path, frame.own.calls


def _stage(name: str, calls: Mapping[Call, int], peaks: Peaks) -> StageBound:
    times = [(count, _arithmetic(call, peaks), call.bytes / peaks.bandwidth) for call, count in calls.items()]
    return StageBound(
        name,
        sum(calls.values()),
        sum(count * call.flops for call, count in calls.items()),
        sum(count * call.bytes for call, count in calls.items()),
        _total((count, arithmetic) for count, arithmetic, _ in times),
        _total((count, traffic) for count, _, traffic in times),
        _total((count, max(arithmetic, traffic)) for count, arithmetic, traffic in times),
        _total((count, traffic) for count, arithmetic, traffic in times if traffic > arithmetic),
    )


def _total(times: Iterable[tuple[int, float]]) -> float:
    return sum(count * seconds for count, seconds in times)


def _arithmetic(call: Call, peaks: Peaks) -> float:
    vector = call.pointwise / peaks.vector
    return 2 * call.macs / _product_peak(call, peaks) + vector if call.macs else vector


def _product_peak(call: Call, peaks: Peaks) -> float:
    form = _FORMATS.get(call.format, call.format)
    if form == "fp32" and "tf32" in peaks.products and _tf32(call.operator):
        form = "tf32"
    if form not in peaks.products:
        raise UserError(
            f"{call.operator}: there is no peak for products in {form}; there are {', '.join(peaks.products)}"
        )
    return peaks.products[form]


def _tf32(operator: str) -> bool:
    """Whether torch lets this operator round its float32 inputs to TF32 on a device that can."""
    if "conv" in operator:
        return torch.backends.cudnn.allow_tf32
    return torch.get_float32_matmul_precision() != "highest"
