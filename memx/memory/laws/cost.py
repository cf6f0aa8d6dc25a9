"""The law of honest cost."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from memx.memory.base import Memory, Shape
from memx.memory.laws.case import BrokenLawError, Case, Factory


def cost_is_what_is_counted(factory: Factory, case: Case) -> None:
    """`cost` agrees with torch's FLOP counter on the plain form and with the state's bytes; the rest is possible.

    Counted: `macs` (by FlopCounterMode) and `state_bytes` (of the state after the clip). Held to a bound: `bytes_moved`
    is no less than the readouts and one state take; `uncounted_macs` are there where torch.linalg solves or takes
    eigenvalues, which the counter reports as no work, and only there. Declared: `pointwise`, of which no more is known
    than that it is not negative.
    """
    memory = case.memory(factory, torch.float32)
    if not declares_cost(memory):
        raise BrokenLawError(
            f"{type(memory).__name__} declares no cost: give it `cost(self, shape: memx.Shape) -> memx.Cost`", case
        )
    clip = replace(case, resets=False).clip(torch.float32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _LinearAlgebra() as solved:
        out, final = memory.scan(clip, form="recurrent")
    cost = memory.cost(Shape(case.batch, case.frames, case.objects, case.tokens))
    counted = counter.get_total_flops()
    if counted != 2 * cost.macs:
        raise BrokenLawError(f"cost says {cost.macs} multiply-accumulates, the counter {counted / 2:g}", case)
    if final.nbytes != cost.state_bytes:
        raise BrokenLawError(f"cost says {cost.state_bytes} state bytes, the state holds {final.nbytes}", case)
    for name, figure in asdict(cost).items():
        if figure < 0:
            raise BrokenLawError(f"cost says {name} = {figure}, which cannot be negative", case)
    least = out.nbytes + final.nbytes if case.frames else 0
    if cost.bytes_moved < least:
        what = f"the readouts alone are {out.nbytes} and the state after the clip {final.nbytes}"
        raise BrokenLawError(f"cost says {cost.bytes_moved} bytes moved, but {what}", case)
    if solved.calls and not cost.uncounted_macs:
        what = f"{solved.calls[0]} is called, which no counter sees"
        raise BrokenLawError(f"cost says uncounted_macs = 0, but {what}", case)
    if cost.uncounted_macs and not solved.called:
        what = "nothing of torch.linalg is called, and the counter sees all else"
        raise BrokenLawError(f"cost says uncounted_macs = {cost.uncounted_macs}, but {what}", case)


_ELEMENTWISE = {"linalg_vector_norm", "linalg_cross"}
"""What torch.linalg has that is pointwise work."""


class _LinearAlgebra(TorchDispatchMode):
    """Notes calls of torch.linalg (solves, eigenvalues): whether there were any, and those of more than numbers."""

    def __init__(self):
        super().__init__()
        self.called = False
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.lstrip("_")
        if name.startswith("linalg_") and name not in _ELEMENTWISE:
            self.called = True
            if any(isinstance(x, Tensor) and x.numel() and min(x.shape[-2:]) > 1 for x in args):
                self.calls.append(name.replace("linalg_", "torch.linalg.", 1))
        return func(*args, **(kwargs or {}))


def declares_cost(memory: Memory) -> bool:
    """Whether the memory has a `cost` of its own."""
    return type(memory).cost is not Memory.cost
