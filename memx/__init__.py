"""memx: explore how a video model should remember.

The public names are imported when they are first used, so that `memx --help` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from memx._version import __version__

if TYPE_CHECKING:
    from memx import ops
    from memx.engine.checkpoint import load
    from memx.errors import CheckpointError, DataError, RecipeError, UserError
    from memx.memory.base import Cost, Memory, Shape, Tokens
    from memx.memory.state import State
    from memx.models.build import build
    from memx.recipe import Recipe
    from memx.registry import (
        Part,
        Slot,
        decoders,
        encoders,
        fusions,
        layouts,
        losses,
        memories,
        models,
        refiners,
        sensories,
    )

_HOME = {
    "Recipe": "memx.recipe",
    "build": "memx.models.build",
    "load": "memx.engine.checkpoint",
    "Memory": "memx.memory.base",
    "Tokens": "memx.memory.base",
    "Shape": "memx.memory.base",
    "Cost": "memx.memory.base",
    "State": "memx.memory.state",
    **dict.fromkeys(("UserError", "RecipeError", "DataError", "CheckpointError"), "memx.errors"),
    **dict.fromkeys(
        (
            "Part",
            "Slot",
            "memories",
            "fusions",
            "encoders",
            "decoders",
            "refiners",
            "sensories",
            "models",
            "losses",
            "layouts",
        ),
        "memx.registry",
    ),
}
_MODULES = (
    "ops",
    "memory",
    "fusion",
    "encoders",
    "decoders",
    "refiners",
    "sensory",
    "models",
    "data",
    "metrics",
    "engine",
)
__all__ = ["__version__", "ops", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"memx.{name}")
    raise AttributeError(f"module 'memx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
