"""Which component of a model is at work: its modules' methods are watched for as long as a block lasts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

WHOLE = ""
"""The path of the model itself."""


@dataclass
class Scopes:
    """The path of the module that is at work, as in `named_modules`; `WHOLE` where no part of the model is.

    on_change  called with the paths before and after, each time that another module takes over
    visited    every path that was at work
    """

    on_change: Callable[[str, str], object] | None = None
    visited: set[str] = field(default_factory=lambda: {WHOLE})
    _stack: list[str] = field(default_factory=lambda: [WHOLE])

    @property
    def current(self) -> str:
        return self._stack[-1]

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        """For the block, `path` is at work."""
        before = self.current
        self._stack.append(path)
        self.visited.add(path)
        self._tell(before, path)
        try:
            yield
        finally:
            self._stack.pop()
            self._tell(path, self.current)

    def _tell(self, before: str, after: str) -> None:
        if self.on_change is not None and before != after:
            self.on_change(before, after)


@contextmanager
def watching(
    model: nn.Module, on_change: Callable[[str, str], object] | None = None, *, depth: int | None = None
) -> Iterator[Scopes]:
    """For the block, know which module of `model` is at work, by whatever public method it was called.

    depth  levels of parts that are told apart (1: the model's own parts); None: all

    A hook sees `forward` alone; a memory works in `step`, `write` and `read`, a sensory state in `see_value`. So every
    public method that a module's classes define themselves is wrapped, and `forward` of torch's own modules.
    """
    scopes = Scopes(on_change)
    wrapped: list[tuple[nn.Module, str]] = []
    try:
        for path, module in model.named_modules():
            if depth is not None and len(path.split(".")) > depth:
                continue
            for name in _methods(type(module)):
                if name not in vars(module):
                    object.__setattr__(module, name, _within(scopes, path, getattr(module, name)))
                    wrapped.append((module, name))
        yield scopes
    finally:
        for module, name in wrapped:
            object.__delattr__(module, name)


def _methods(kind: type) -> Iterator[str]:
    """The methods through which work reaches a module of this class."""
    if issubclass(kind, nn.Module):
        yield "forward"
    for parent in kind.__mro__:
        if parent is nn.Module or parent.__module__.split(".")[0] == "torch":
            break
        for name, value in vars(parent).items():
            if inspect.isfunction(value) and not name.startswith("_") and name != "forward":
                yield name


def _within(scopes: Scopes, path: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def watched(*args: Any, **options: Any) -> Any:
        with scopes.at(path):
            return method(*args, **options)

    return watched
