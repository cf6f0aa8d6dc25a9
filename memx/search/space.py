"""The space of a search: plain data in which some values are to be drawn.

A mapping with `choice`, `int` or `float` stands for a value that is drawn; everything else stands for itself. What lies
within a choice exists only where that choice is taken:

    model.memory:
      choice:
        - linear
        - {type: gated_delta, heads: {int: [1, 8], log: true}}

has the parameter `model.memory`, which is linear or gated_delta, and, where it is gated_delta, the parameter
`model.memory[gated_delta].heads`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memx.errors import unknown

Scalar = str | int | float | bool | None
_KINDS = ("choice", "int", "float")
_FINE = 32
"""Whole numbers of a range up to which each of them is tried in a check; of a longer one some."""


@dataclass(frozen=True)
class Choice:
    """One of several things, each under a label."""

    name: str
    options: Mapping[Scalar, Any]

    def labels(self) -> list[Scalar]:
        return list(self.options)


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, both included; `whole`: an integer."""

    name: str
    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    def examples(self) -> list[Scalar]:
        """Every value of a short range of integers, and of others the ends and some between."""
        if self.whole:
            step = int(self.step or 1)
            values = range(int(self.low), int(self.high) + 1, step)
            last = len(values) - 1
            places = range(last + 1) if last < _FINE else [round(i * last / (_FINE - 1)) for i in range(_FINE)]
            return [values[place] for place in places]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return list(dict.fromkeys([self.low, self.high] if self.step else [self.low, middle, self.high]))


Node = Choice | Number
Decide = Callable[[Node], Scalar]


@dataclass(frozen=True)
class Space:
    """Dotted path → what may stand there."""

    paths: Mapping[str, Any]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Space:
        """Read the `space:` of a recipe. Raises ValueError naming the place of what cannot be drawn."""
        for path in data:
            inside = [other for other in data if other.startswith(f"{path}.")]
            if inside:
                raise ValueError(
                    f"{inside[0]} lies within {path}, which is drawn whole; write it into the choices of {path}"
                )
        if any(path.split(".")[0] in ("search", "plugins", "base", "seed", "name") for path in data):
            raise ValueError("search, plugins, base, seed and name are the same for all trials")
        space = cls({path: _parse(value, path) for path, value in data.items()})
        if not any(_nodes(tree) for tree in space.paths.values()):
            raise ValueError("has nothing to draw; write e.g. `model.memory: {choice: [linear, gated_delta]}`")
        return space

    def resolve(self, decide: Decide) -> dict[str, Any]:
        """Path → plain data, with every value that is to be drawn decided; parameters not met are not asked for."""
        return {path: _resolve(tree, decide) for path, tree in self.paths.items()}

    def nodes(self) -> list[Node]:
        """Everything that may be drawn, in the order in which it is asked for."""
        return [node for tree in self.paths.values() for node in _nodes(tree)]

    def combinations(self) -> Iterator[dict[str, Scalar]]:
        """Every assignment of parameters to examples (`Number.examples`), parameters that are not met left out."""
        yield from _assignments(self.paths, Number.examples)

    def size(self) -> int:
        """How many `combinations` there are."""
        return _count(self.paths, lambda number: len(number.examples()))

    def conditional(self) -> list[str]:
        """Parameters that exist only where another one has a certain value."""
        return [node.name for node in self.nodes() if self._conditions(node.name)]

    def _conditions(self, name: str) -> dict[str, Scalar]:
        """Parameter → the value that it must have for the parameter `name` to be there."""
        choices = [node for node in self.nodes() if isinstance(node, Choice)]
        return {c.name: label for c in choices for label in c.labels() if name.startswith(f"{c.name}[{label}]")}

    def refuse_unknown(self, combination: Mapping[str, Scalar]) -> None:
        """Raise ValueError unless every parameter of the combination is there and can have its value."""
        nodes = {node.name: node for node in self.nodes()}
        for name, value in combination.items():
            if name not in nodes:
                raise ValueError(f"first: {unknown('parameter', name, nodes)}")
            node = nodes[name]
            if isinstance(node, Choice) and value not in node.labels():
                raise ValueError(f"first: {name} is one of {', '.join(map(str, node.labels()))}, not {value!r}")
            if isinstance(node, Number) and not (_is_number(value) and node.low <= float(value or 0) <= node.high):
                raise ValueError(f"first: {name} is a number from {node.low} to {node.high}, not {value!r}")
            if isinstance(node, Number) and node.whole and not float(value or 0).is_integer():
                raise ValueError(f"first: {name} is a whole number, not {value!r}")
            if isinstance(node, Number) and node.step and not _steps((float(value or 0) - node.low) / node.step):
                raise ValueError(f"first: {name} goes from {node.low} in steps of {node.step}, not to {value!r}")
            for other, wanted in self._conditions(name).items():
                if other not in combination or combination[other] != wanted:
                    raise ValueError(f"first: {name} is there only where {other} is {wanted}; say that, too")

    def grid_size(self) -> int:
        """How many combinations a grid visits. Raises ValueError for a range without a step."""
        return _count(self.paths, lambda number: _steps_of(number) + 1)

    def grid(self) -> list[dict[str, Scalar]]:
        """All combinations that a grid visits, parameters that are not met left out."""
        return list(_assignments(self.paths, _points))


def _parse(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        kinds = [kind for kind in _KINDS if kind in value]
        if kinds:
            return _parse_node(value, kinds, name)
        return {key: _parse(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_parse(item, f"{name}.{i}") for i, item in enumerate(value)]
    return value


def _parse_node(value: Mapping[str, Any], kinds: Sequence[str], name: str) -> Node:
    kind = kinds[0]
    known = {kind} if kind == "choice" else {kind, "step", "log"}
    surplus = sorted(set(value) - known)
    if surplus:
        raise ValueError(f"{name}: {kind} takes no {surplus[0]!r}; it has {', '.join(sorted(known))}")
    if kind == "choice":
        return _parse_choice(value["choice"], name)
    ends = value[kind]
    if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(_is_number(end) for end in ends):
        raise ValueError(f"{name}: {kind} is [low, high], two numbers, not {ends!r}")
    low, high = ends
    step, log = value.get("step"), value.get("log", False)
    whole = kind == "int"
    if low > high:
        raise ValueError(f"{name}: {kind} runs from {low} down to {high}; write [{high}, {low}]")
    if not isinstance(log, bool):
        raise ValueError(f"{name}: log is true or false, not {log!r}")
    if log and low <= 0:
        raise ValueError(f"{name}: a logarithmic range begins above 0, not at {low}")
    if log and step is not None:
        raise ValueError(f"{name}: a range is logarithmic or has a step, not both")
    if step is not None and (not _is_number(step) or step <= 0):
        raise ValueError(f"{name}: step is a number above 0, not {step!r}")
    if whole and not all(float(number).is_integer() for number in (low, high, step or 1)):
        raise ValueError(f"{name}: int takes whole numbers, not {ends} with step {step}")
    if step is not None and not _steps((high - low) / step):
        raise ValueError(f"{name}: steps of {step} from {low} do not meet {high}")
    return Number(name, low, high, step, log, whole)


def _parse_choice(items: Any, name: str) -> Choice:
    if not isinstance(items, list) or not items:
        raise ValueError(f"{name}: choice is a list of at least one thing, not {items!r}")
    labels = [_label(item) for item in items]
    types = [
        item["type"] if isinstance(item, Mapping) and isinstance(item.get("type"), str) else None for item in items
    ]
    # A component is called by its type, where that tells it apart.
    labels = [
        kind if kind is not None and [*labels, *types].count(kind) == 1 else label
        for kind, label in zip(types, labels, strict=True)
    ]
    twice = next((label for label in labels if sum(_same(label, other) for other in labels) > 1), None)
    if twice is not None:
        raise ValueError(f"{name}: {twice!r} stands in the choice twice")
    trees = [_parse(item, f"{name}[{label}]") for item, label in zip(items, labels, strict=True)]
    return Choice(name, dict(zip(labels, trees, strict=True)))


def _label(item: Any) -> Scalar:
    """A scalar is its own label; others are called by what they say."""
    if item is None or isinstance(item, str | int | float | bool):
        return item
    return _plain(item)


def _plain(item: Any) -> str:
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(value)}" for key, value in item.items()) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(map(_plain, item)) + "]"
    return item if isinstance(item, str) else json.dumps(item)


def _same(a: Scalar, b: Scalar) -> bool:
    """Whether they would be one key: 1, 1.0 and true are."""
    return a == b


def _steps(number: float) -> bool:
    """Whether it is a whole number of steps, but for rounding."""
    return abs(number - round(number)) < 1e-9


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _resolve(tree: Any, decide: Decide) -> Any:
    if isinstance(tree, Choice):
        return _resolve(tree.options[decide(tree)], decide)
    if isinstance(tree, Number):
        return decide(tree)
    if isinstance(tree, dict):
        return {key: _resolve(item, decide) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_resolve(item, decide) for item in tree]
    return tree


def _nodes(tree: Any) -> list[Node]:
    if isinstance(tree, Choice):
        return [tree, *(node for option in tree.options.values() for node in _nodes(option))]
    if isinstance(tree, Number):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [node for part in parts for node in _nodes(part)]


def _assignments(tree: Any, values: Callable[[Number], list[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every assignment of a tree's parameters, where a number has these `values`."""
    if isinstance(tree, Choice):
        for label, option in tree.options.items():
            for inner in _assignments(option, values):
                yield {tree.name: label, **inner}
    elif isinstance(tree, Number):
        for value in values(tree):
            yield {tree.name: value}
    else:
        parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ()
        for found in itertools.product(*(list(_assignments(part, values)) for part in parts)):
            yield {name: value for part in found for name, value in part.items()}


def _count(tree: Any, points: Callable[[Number], int]) -> int:
    """Combinations of a tree, where a number has `points` values."""
    if isinstance(tree, Choice):
        return sum(_count(option, points) for option in tree.options.values())
    if isinstance(tree, Number):
        return points(tree)
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ()
    return math.prod(_count(part, points) for part in parts)


def _steps_of(number: Number) -> int:
    """Steps from one end of a range to the other."""
    if number.step is None and not number.whole:
        raise ValueError(f"sampler grid: {number.name} is a range without a step; give one, or a choice")
    return round((number.high - number.low) / (number.step or 1))


def _points(number: Number) -> list[Scalar]:
    """All values of a range that has steps."""
    values = [number.low + i * (number.step or 1) for i in range(_steps_of(number) + 1)]
    return [int(value) for value in values] if number.whole else [min(value, number.high) for value in values]
