"""The law of honest cost."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from memx.memory.base import Memory, Shape
from memx.memory.laws.case import BrokenLawError, Case, Factory


def cost_is_what_is_counted(factory: Factory, case: Case) -> None:
    """`cost` agrees with torch's FLOP counter on the plain form, and its state bytes with the state's."""
    memory = case.memory(factory, torch.float32)
    if not declares_cost(memory):
        raise BrokenLawError(
            f"{type(memory).__name__} declares no cost: give it `cost(self, shape: memx.Shape) -> memx.Cost`", case
        )
    clip = replace(case, resets=False).clip(torch.float32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _, final = memory.scan(clip, form="recurrent")
    cost = memory.cost(Shape(case.batch, case.frames, case.objects, case.tokens))
    counted = counter.get_total_flops()
    if counted != 2 * cost.macs:
        raise BrokenLawError(f"cost says {cost.macs} multiply-accumulates, the counter {counted / 2:g}", case)
    if final.nbytes != cost.state_bytes:
        raise BrokenLawError(f"cost says {cost.state_bytes} state bytes, the state holds {final.nbytes}", case)


def declares_cost(memory: Memory) -> bool:
    """Whether the memory has a `cost` of its own."""
    return type(memory).cost is not Memory.cost
