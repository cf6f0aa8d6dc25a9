"""`memx check FILE.py`: a memory held to every law, and what it costs."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memx.memory.base import Memory, Shape
from memx.memory.drawing import space_of
from memx.memory.from_file import line_in
from memx.memory.laws import AT_LENGTH, BrokenLawError, Case
from memx.memory.laws.cost import declares_cost
from memx.memory.laws.outcome import all_forms
from memx.memory.verify import Break, Verdict
from memx.registry import Entry

FRAMES = (1, 10)
"""Lengths that state sizes are given after; the cost of a frame is the mean over the longest."""


@dataclass(frozen=True)
class Sizes:
    """What state and cost are given at: GDKVM's dimensions, unless told otherwise."""

    key_dim: int = 64
    value_dim: int = 256
    tokens: int = 256


@dataclass(frozen=True)
class Facts:
    """What a memory is and costs at some sizes; `missing` says why where something is not known."""

    forms: tuple[str, ...]
    parameters: int | None
    state_bytes: dict[int, int]
    """After so many frames."""
    cost: dict[str, float]
    """Of a frame: macs, flops, bytes_moved."""
    missing: str = ""


@dataclass(frozen=True)
class MemoryReport:
    """One memory of a file: a verdict a law, and its facts."""

    entry: Entry
    file: Path
    verdicts: list[Verdict]
    facts: Facts
    sizes: Sizes
    seed: int

    @property
    def kept(self) -> bool:
        return not any(verdict.broken for verdict in self.verdicts)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of its options is not drawn, a sentence each."""
        return space_of(self.entry).left_out

    @property
    def reached(self) -> tuple[str, ...]:
        """The largest clips and frames in which laws were kept: of those that are held at length, and of the others."""
        found = []
        for at_length in (True, False):
            kept = [v for v in self.verdicts if v.outcome == "kept" and (v.law in AT_LENGTH) is at_length]
            if kept:
                frames, tokens = max(v.frames for v in kept), max(v.tokens for v in kept)
                laws = ", ".join(v.name for v in kept) if at_length else "the other laws"
                found.append(f"{frames} frames and {tokens} tokens a frame: {laws}")
        return tuple(found)

    def json(self) -> dict[str, Any]:
        """The report as plain data."""
        facts = asdict(self.facts)
        return {
            "memory": self.entry.name,
            "file": str(self.file),
            "summary": self.entry.summary,
            "kept": self.kept,
            "laws": [self._law(verdict) for verdict in self.verdicts],
            "left_out": list(self.left_out),
            "seed": self.seed,
            "sizes": {**asdict(self.sizes), "objects": 1},
            **facts,
            "state_bytes": {str(frames): size for frames, size in facts["state_bytes"].items()},
        }

    def _law(self, verdict: Verdict) -> dict[str, Any]:
        facts = {"law": verdict.name, "states": verdict.states, "outcome": verdict.outcome, "cases": verdict.cases}
        if verdict.cases:
            facts["up_to"] = {"frames": verdict.frames, "tokens": verdict.tokens}
        if verdict.reason:
            facts["reason"] = verdict.reason
        if verdict.broken:
            place = line_in(self.file, verdict.broken.error)
            facts["break"] = {
                "says": verdict.broken.says,
                "line": place and place[0],
                "function": place and place[1],
                "options": verdict.broken.options,
                "case": asdict(verdict.broken.case),
                "steady": verdict.broken.steady,
                "reproduce": reproduce(self, verdict),
            }
        return facts


def facts_of(entry: Entry, file: Path, sizes: Sizes) -> Facts:
    """What the memory is at its default options, and what it declares to cost."""
    space = space_of(entry)
    try:
        case = Case(key_dim=sizes.key_dim, value_dim=sizes.value_dim, feature_dim=sizes.value_dim)
        memory = case.memory(space.part(space.base))
        forms, parameters = tuple(all_forms(memory)), _parameters(memory)
    except Exception as error:
        return Facts((), None, {}, {}, f"it cannot be built at these sizes: {_crash(error, file)}")
    if not declares_cost(memory):
        return Facts(forms, parameters, {}, {}, "not declared: the memory has no `cost`")
    try:
        costs = {frames: memory.cost(Shape(frames=frames, tokens=sizes.tokens)) for frames in FRAMES}
        state = {frames: int(cost.state_bytes) for frames, cost in costs.items()}
        whole = costs[FRAMES[-1]]
        figures = {"macs": whole.macs + whole.uncounted_macs, "flops": whole.flops, "bytes_moved": whole.bytes_moved}
    except Exception as error:
        return Facts(forms, parameters, {}, {}, f"`cost` fails: {_crash(error, file)}")
    return Facts(forms, parameters, state, {name: figure / FRAMES[-1] for name, figure in figures.items()})


def finding(found: Break, file: Path) -> str:
    """What was found, with the line of the file where its own code raised it."""
    return found.says if isinstance(found.error, BrokenLawError) else _crash(found.error, file)


def in_words(case: Case) -> str:
    """The case as a sentence without a verb."""

    def count(number: int, what: str) -> str:
        return f"{number} {what}" if number == 1 else f"{number} {what}s"

    places = [(item, frame) for item in range(case.batch) for frame in range(case.frames)]
    if not case.resets:
        resets = "no resets"
    elif case.resets is True:
        resets = "resets drawn by the seed"
    elif set(places) <= set(case.resets):
        resets = "a reset in every frame"
    else:
        resets = "resets of " + ", ".join(f"clip {item} in frame {frame}" for item, frame in case.resets)
    parts = [
        f"{count(case.batch, 'clip')} of {count(case.frames, 'frame')}, {count(case.objects, 'object')}, "
        f"{count(case.tokens, 'token')}",
        f"key {case.key_dim}, value {case.value_dim}",
        resets,
        "starts after a frame" if case.warm else "starts empty",
        *([f"cut after {count(case.split, 'frame')}"] if case.split > 1 else []),
        f"seed {case.seed}",
    ]
    return "; ".join(parts)


def reproduce(report: MemoryReport, verdict: Verdict) -> list[str]:
    """Three lines of Python that raise the break again."""
    assert verdict.broken is not None
    words = [str(report.file), report.entry.name, *([verdict.broken.options] if verdict.broken.options else [])]
    return [
        "from memx.memory.from_file import memory_in",
        f"from memx.memory.laws import Case, {verdict.name}",
        f"{verdict.name}(memory_in({', '.join(map(_python, words))}), {verdict.broken.case!r})",
    ]


def _python(value: Any) -> str:
    """`repr` with the quotes that this project writes."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_python(key)}: {_python(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _parameters(memory: Memory) -> int:
    return sum(p.numel() for p in memory.parameters())


def _crash(error: Exception, file: Path) -> str:
    place = line_in(file, error)
    where = f" (line {place[0]} of {file.name}, in {place[1]})" if place else ""
    says = f"{type(error).__name__}: {str(error).strip().rstrip('.')}{where}".replace(": (", " (")
    if re.search("in-?place operation", str(error)):
        says += ". Something is changed in place that gradients need: write x = x * a for x *= a or x.mul_(a)"
    return says
