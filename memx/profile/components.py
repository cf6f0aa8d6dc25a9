"""Parameters and arithmetic of a model as a tree of its components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from memx.errors import UserError
from memx.memory.base import Memory, Shape
from memx.profile.arithmetic import Arithmetic, Tally, counting
from memx.profile.scopes import WHOLE


class UncountedError(UserError):
    """A component worked and nothing was counted, or an operator has no rule: no total would be true."""


@dataclass(frozen=True)
class Component:
    """A module of a model with its parts.

    path        as in `named_modules`; empty for the model
    type        its class
    parameters  of it and its parts, each once
    own         what it did itself, outside its parts
    ran         whether it was at work
    """

    path: str
    type: str
    parameters: int
    own: Tally
    ran: bool
    parts: tuple[Component, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2] or "model"

    @cached_property
    def whole(self) -> Tally:
        """What it and its parts did."""
        tally = Tally()
        for component in self.walk():
            tally.add(component.own)
        return tally

    def walk(self) -> Iterator[Component]:
        """It and all its parts, from the top."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def as_dict(self, depth: int | None = None) -> dict[str, Any]:
        """As plain data, with `depth` levels of parts (None: all)."""
        data = {
            "path": self.path,
            "type": self.type,
            "parameters": self.parameters,
            "ran": self.ran,
            "macs": self.whole.macs.total(),
            "pointwise": self.whole.pointwise.total(),
            "flops": self.whole.flops,
            "bytes": self.whole.bytes,
            "operators": self.whole.calls.total(),
        }
        if depth == 0:
            return data
        below = None if depth is None else depth - 1
        return {**data, "parts": [part.as_dict(below) for part in self.parts]}


@torch.no_grad()
def count(model: nn.Module, call: Callable[[], object]) -> Component:
    """The model's components with the arithmetic of `call`.

    Raises UncountedError where a component was at work and did nothing that counts, and for operators without a rule.
    """
    with counting(model) as found:
        call()
    _refuse_silence(model, found)
    return _component(model, WHOLE, found)


def _component(module: nn.Module, path: str, found: Arithmetic) -> Component:
    parts = tuple(_component(part, f"{path}.{name}".lstrip("."), found) for name, part in module.named_children())
    return Component(
        path,
        type(module).__name__,
        sum(parameter.numel() for parameter in module.parameters()),
        found.tallies.get(path, Tally()),
        path in found.visited,
        parts,
    )


def _refuse_silence(model: nn.Module, found: Arithmetic) -> None:
    unknown = sorted(
        f"{name} in {path or 'the model'}" for path, tally in found.tallies.items() for name in tally.uncounted
    )
    if unknown:
        raise UncountedError(
            f"no rule says what these operators calculate: {', '.join(unknown)}; add them to memx/profile/arithmetic.py"
        )
    for path, module in model.named_modules():
        component = _component(module, path, found)
        works = path in found.visited and (any(True for _ in module.parameters()) or "." not in path)
        if works and path and not component.whole.flops and not _free(module):
            raise UncountedError(f"{path} ({type(module).__name__}) was at work and nothing was counted")


def _free(module: nn.Module) -> bool:
    """Whether a memory says itself that it costs nothing."""
    return isinstance(module, Memory) and module.cost(Shape(frames=1)).flops == 0
