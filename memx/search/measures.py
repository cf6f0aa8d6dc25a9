"""What a search can ask of a recipe: its Dice, which training finds, and its costs, which the profiler measures.

No measure is imported here with torch: a recipe that names one is checked without it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from memx.errors import unknown

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Measure:
    """A number that says how good or how costly a recipe is.

    title    a few words for the reader
    meaning  what exactly it is
    trained  whether it is known only after training
    """

    name: str
    direction: Direction
    unit: str
    title: str
    meaning: str
    trained: bool = False


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("dice", "maximize", "", "validation Dice", "best mean Dice on the validation patients", trained=True),
        Measure("latency_ms", "minimize", "ms", "latency a frame", "median time of a streamed frame, batch 1"),
        Measure(
            "latency_ratio",
            "minimize",
            "×",
            "latency over the base's",
            "the same over that of the recipe as it stands, timed in turns",
        ),
        Measure("macs", "minimize", "", "MACs a frame", "multiply-accumulates of a streamed frame"),
        Measure("flops", "minimize", "", "FLOPs a frame", "floating-point operations of a streamed frame"),
        Measure("parameters", "minimize", "", "parameters", "numbers that training fits"),
        Measure("state_bytes", "minimize", "B", "state", "bytes of the state after `data.frames` frames"),
    )
}


def find_measure(name: str) -> Measure:
    """The measure of that name. Raises ValueError naming those that there are."""
    if name not in MEASURES:
        raise ValueError(unknown("measure", name, MEASURES))
    return MEASURES[name]


_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Constraint:
    """`latency_ms < 20`: a measure, a sign and a bound."""

    measure: Measure
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read `MEASURE < NUMBER` (or <=, >, >=). Raises ValueError saying how one is written."""
        found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+.\w]+)\s*", text)
        try:
            if found is None:
                raise ValueError
            bound = float(found[3])
            if not math.isfinite(bound):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{text!r} is no constraint; write a measure, a sign and a number: latency_ms < 20"
            ) from None
        return cls(find_measure(found[1]), found[2], bound)

    def holds(self, value: float) -> bool:
        return _SIGNS[self.sign](value, self.bound)

    def broken_by(self, value: float) -> str:
        """`latency_ms is 31.2, not < 20`."""
        return f"{self.measure.name} is {_exact(value)}, not {self.sign} {_exact(self.bound)}"

    def violation(self, value: float) -> float:
        """0 or less where it holds, and else how far off the value is, in units of the bound: what samplers go by."""
        off = (value - self.bound) / (abs(self.bound) or 1.0)
        off = off if self.sign.startswith("<") else -off
        return off if self.holds(value) == (off <= 0) else 1e-12  # on the bound of a strict sign

    def __str__(self) -> str:
        return f"{self.measure.name} {self.sign} {_exact(self.bound)}"


def _exact(number: float) -> str:
    """As short as it can be written without rounding."""
    short = f"{number:g}"
    if float(short) == number:
        return short
    return str(int(number)) if float(number).is_integer() else repr(number)
