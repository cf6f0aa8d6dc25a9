"""The gated delta rule timed in all its implementations, in one process, in turns, after a check that they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch

from memx.profile.agreement import TOLERANCE, Agreement, compare, forward, forward_backward, reference, results
from memx.profile.ops_cases import OpShape, Problem, draw
from memx.profile.peak import peak_bytes
from memx.profile.peers import Peer
from memx.profile.timing import Clock, Quantiles, in_turns, paired_ratios

Quantity = Literal["fwd", "bwd", "step", "memory"]
TITLES: dict[Quantity, str] = {
    "fwd": "forward",
    "bwd": "forward + backward",
    "step": "one step (t = 1)",
    "memory": "peak memory, fwd + bwd",
}
BASE: dict[Quantity, str] = {"fwd": "memx_chunk", "bwd": "memx_chunk", "step": "memx_recurrent", "memory": "memx_chunk"}
"""The form of ours that the others are set against: the one that memx runs there."""

STATES_LIMIT = 4 * 2**30
"""A stepwise implementation whose backward pass would keep more bytes of states than this is not run backward."""
PROFILER_SLOWDOWN = 10
"""About how much longer a call of many small operations takes while its allocations are recorded."""


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how long."""

    shapes: tuple[OpShape, ...]
    quantities: tuple[Quantity, ...]
    rounds: int = 30
    step_calls: int = 100
    budget: float = 10.0
    """Seconds that one implementation may take for one quantity at one shape."""
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    seed: int = 0


@dataclass(frozen=True)
class Check:
    """Whether an implementation agrees at a shape. It is timed only where it does."""

    shape: OpShape
    peer: str
    agreement: Agreement | None
    refused: str
    """Why it is not timed at this shape; empty where it is."""


@dataclass(frozen=True)
class Cell:
    """One quantity of one implementation at one shape."""

    quantity: Quantity
    shape: OpShape
    peer: str
    values: tuple[float, ...]
    """Seconds a call, one a round, in the order of the rounds; for memory one number of bytes."""
    skipped: str = ""
    """Why there are no values."""


@dataclass
class Bench:
    """All that a run measured."""

    settings: Settings
    checks: list[Check] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)

    def cell(self, quantity: Quantity, shape: OpShape, peer: str) -> Cell | None:
        same = (c for c in self.cells if (c.quantity, c.shape, c.peer) == (quantity, shape, peer))
        return next(same, None)

    def ratio(self, cell: Cell) -> Quantiles | None:
        """What the implementation takes beside ours, from the ratios round by round; None where either is missing."""
        base = self.cell(cell.quantity, cell.shape, BASE[cell.quantity])
        if base is None or not base.values or not cell.values:
            return None
        return Quantiles.of(paired_ratios(cell.values, base.values))

    @property
    def disagreements(self) -> list[Check]:
        return [c for c in self.checks if c.agreement is not None and not c.agreement.holds]


def run(
    implementations: dict[str, Peer],
    settings: Settings,
    *,
    progress: Callable[[str], None] = lambda note: None,
    clock: Clock = time.perf_counter_ns,
) -> Bench:
    """Check, then time, every implementation at every shape.

    An implementation whose results differ from the reference by more than agreement.TOLERANCE, or that cannot take the
    shape, is not timed there, and the check says why. `progress` is told of every stage that is done.
    """
    bench = Bench(settings)
    stepping = _stepping(settings)
    for shape in settings.shapes:
        whole: list[Quantity] = [q for q in settings.quantities if q != "step"]
        if whole:
            problem = draw(shape, seed=settings.seed, device=settings.device).to(settings.dtype)
            agreeing = _check(bench, implementations, shape, problem, gradients=whole != ["fwd"])
            progress(f"{shape.name}: agreement")
            for quantity in whole:
                bench.cells += _MEASURES[quantity](agreeing, shape, problem, settings, clock)
                progress(f"{shape.name}: {TITLES[quantity]}")
        if shape in stepping:
            one = shape.step()
            problem = draw(one, seed=settings.seed, device=settings.device).to(settings.dtype)
            agreeing = _check(bench, implementations, one, problem, gradients=False)
            bench.cells += _MEASURES["step"](agreeing, one, problem, settings, clock)
            progress(f"{shape.name}: {TITLES['step']}")
    return bench


def stages(settings: Settings) -> int:
    """How often `run` reports progress."""
    whole = sum(q != "step" for q in settings.quantities)
    return len(settings.shapes) * (whole + 1 if whole else 0) + len(_stepping(settings))


def _stepping(settings: Settings) -> list[OpShape]:
    """The shapes that a step is timed at: of those that differ only in their length, the first."""
    if "step" not in settings.quantities:
        return []
    first: dict[tuple[int, ...], OpShape] = {}
    for shape in settings.shapes:
        first.setdefault((shape.b, shape.h, shape.k, shape.v), shape)
    return list(first.values())


def _check(
    bench: Bench, implementations: dict[str, Peer], shape: OpShape, problem: Problem, *, gradients: bool
) -> dict[str, Peer]:
    """Records a check of each implementation; gives those that agree."""
    settings = bench.settings
    want, oracle = reference(problem, gradients=gradients)
    agreeing = {}
    for name, peer in implementations.items():
        agreement = None
        refused = peer.why_not(torch.device(settings.device), settings.dtype, shape.k) or ""
        if not refused and not oracle.holds:
            agreement = oracle
            refused = f"memx's own two forms differ in float64: {oracle}"
        elif not refused:
            backward = gradients and not _not_backward(peer, shape)
            try:
                got = results(peer.rule, problem, gradients=backward)
            except Exception as error:
                if name.startswith("memx"):
                    raise
                refused = f"it fails: {type(error).__name__}: {(str(error) or 'no message').splitlines()[0][:120]}"
            else:
                agreement = compare(got, want, TOLERANCE[settings.dtype])
                refused = "" if agreement.holds else str(agreement)
        bench.checks.append(Check(shape, name, agreement, refused))
        if not refused:
            agreeing[name] = peer
    return agreeing


def _forward(agreeing: dict[str, Peer], shape: OpShape, problem: Problem, s: Settings, clock: Clock) -> Iterator[Cell]:
    with torch.no_grad():
        calls = {name: _forward_call(peer, problem) for name, peer in agreeing.items()}
        yield from _timed("fwd", shape, calls, s, clock)


def _step(agreeing: dict[str, Peer], shape: OpShape, problem: Problem, s: Settings, clock: Clock) -> Iterator[Cell]:
    with torch.no_grad():
        calls = {name: _forward_call(peer, problem) for name, peer in agreeing.items()}
        yield from _timed("step", shape, calls, s, clock, calls_a_round=s.step_calls)


def _backward(agreeing: dict[str, Peer], shape: OpShape, problem: Problem, s: Settings, clock: Clock) -> Iterator[Cell]:
    refused = {name: _not_backward(peer, shape) for name, peer in agreeing.items()}
    calls = {n: _backward_call(peer, problem) for n, peer in agreeing.items() if not refused[n]}
    yield from _timed("bwd", shape, calls, s, clock)
    yield from (Cell("bwd", shape, name, (), reason) for name, reason in refused.items() if reason)


def _memory(agreeing: dict[str, Peer], shape: OpShape, problem: Problem, s: Settings, clock: Clock) -> Iterator[Cell]:
    for name, peer in agreeing.items():
        refused = _not_backward(peer, shape)
        if not refused:
            call = _backward_call(peer, problem)
            start = clock()
            call()
            seconds = (clock() - start) / 1e9
            if s.device == "cpu" and PROFILER_SLOWDOWN * seconds > s.budget:
                needed = f"recording its allocations takes about {PROFILER_SLOWDOWN * seconds:.2g} s"
                refused = f"{needed}, longer than the budget of {s.budget:g} s"
            else:
                yield Cell("memory", shape, name, (float(peak_bytes(call, s.device)),))
        if refused:
            yield Cell("memory", shape, name, (), refused)


_MEASURES: dict[Quantity, Callable[[dict[str, Peer], OpShape, Problem, Settings, Clock], Iterator[Cell]]] = {
    "fwd": _forward,
    "bwd": _backward,
    "step": _step,
    "memory": _memory,
}


def _timed(
    quantity: Quantity,
    shape: OpShape,
    functions: dict[str, Callable[[], object]],
    s: Settings,
    clock: Clock,
    *,
    calls_a_round: int = 1,
) -> Iterator[Cell]:
    samples = in_turns(functions, s.rounds, device=s.device, calls=calls_a_round, budget=s.budget, clock=clock)
    for name, taken in samples.items():
        too_slow = f"one call takes {taken.first:.1f} s, longer than the budget of {s.budget:g} s"
        yield Cell(quantity, shape, name, taken.seconds, "" if taken.seconds else too_slow)


def _forward_call(peer: Peer, problem: Problem) -> Callable[[], object]:
    return lambda: forward(peer.rule, problem)


def _backward_call(peer: Peer, problem: Problem) -> Callable[[], object]:
    leaves = problem.leaves()
    return lambda: forward_backward(peer.rule, problem, leaves)


def _not_backward(peer: Peer, shape: OpShape) -> str:
    """Why an implementation is not run backward, or nothing; a step keeps about four arrays of the state's size."""
    if not peer.differentiable:
        return "it has no backward pass"
    states = 4 * 4 * shape.b * shape.t * shape.h * shape.k * shape.v
    if peer.stepwise and states > STATES_LIMIT:
        return f"its backward pass would keep about {states / 2**30:.0f} GiB of states"
    return ""


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """torch's threads set to a number, and back; None leaves them."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
