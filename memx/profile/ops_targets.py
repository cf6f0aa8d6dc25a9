"""What memx.ops is meant to reach beside transformers' torch functions on the CPU, held to what a run measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from memx.profile.ops_bench import BASE, Bench, Quantity
from memx.profile.ops_cases import LONG, OpShape
from memx.profile.timing import Quantiles, paired_ratios

RIVALS = ("transformers_chunk", "transformers_recurrent")
"""The better of the two counts, shape by shape."""


@dataclass(frozen=True)
class Target:
    """One demand at one shape."""

    quantity: Quantity
    shape: OpShape
    wanted: float
    """The ratio rival / memx that is asked for; times and bytes alike, so more is better for memx."""
    rival: str
    ratio: Quantiles

    @property
    def met(self) -> bool:
        return self.ratio.median >= self.wanted


def why_no_targets(bench: Bench) -> str:
    """Why the targets say nothing about a run, or nothing."""
    if torch.device(bench.settings.device).type != "cpu" or bench.settings.dtype != torch.float32:
        return "they are set for float32 on the CPU"
    if not any(cell.peer in RIVALS and cell.values for cell in bench.cells):
        return "they are set against transformers' functions, none of which was measured"
    return ""


def targets(bench: Bench) -> list[Target]:
    """The demands that a run can be held to: 1.5 forward and forward + backward where t ≥ 2,048, else 1; a step and
    peak memory 1. A demand is met by the median of the ratios round by round."""
    if why_no_targets(bench):
        return []
    found = []
    for base in (c for c in bench.cells if c.peer == BASE[c.quantity] and c.values):
        rivals = [bench.cell(base.quantity, base.shape, name) for name in RIVALS]
        ratios = [(Quantiles.of(paired_ratios(r.values, base.values)), r.peer) for r in rivals if r and r.values]
        if ratios:
            ratio, rival = min(ratios, key=lambda pair: pair[0].median)
            long = base.quantity in ("fwd", "bwd") and base.shape.t >= LONG
            found.append(Target(base.quantity, base.shape, 1.5 if long else 1.0, rival, ratio))
    return found


def geometric_means(bench: Bench) -> dict[tuple[str, Quantity], tuple[float, int]]:
    """By implementation and quantity: the geometric mean of the median ratios over shapes, and over how many."""
    logs: dict[tuple[str, Quantity], list[float]] = {}
    for cell in bench.cells:
        ratio = bench.ratio(cell)
        if ratio is not None and cell.peer != BASE[cell.quantity]:
            logs.setdefault((cell.peer, cell.quantity), []).append(math.log(ratio.median))
    return {key: (math.exp(sum(values) / len(values)), len(values)) for key, values in logs.items()}
