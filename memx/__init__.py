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
    from memx.models.mask_propagator import MaskPropagator
    from memx.recipe import Recipe
    from memx.registry import Part, Slot, fusions, memories

# Registries whose names are packages too (memx.registry.encoders, .decoders, .models, .losses …) stay in memx.registry.
_HOME = {
    "Recipe": "memx.recipe",
    "build": "memx.models.build",
    "load": "memx.engine.checkpoint",
    "MaskPropagator": "memx.models.mask_propagator",
    "Memory": "memx.memory.base",
    "Tokens": "memx.memory.base",
    "Shape": "memx.memory.base",
    "Cost": "memx.memory.base",
    "State": "memx.memory.state",
    **dict.fromkeys(("UserError", "RecipeError", "DataError", "CheckpointError"), "memx.errors"),
    **dict.fromkeys(("Part", "Slot", "memories", "fusions"), "memx.registry"),
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
    "losses",
    "data",
    "metrics",
    "engine",
    "registry",
    "profile",
    "report",
    "inspect",
)
__all__ = [
    "CheckpointError",
    "Cost",
    "DataError",
    "MaskPropagator",
    "Memory",
    "Part",
    "Recipe",
    "RecipeError",
    "Shape",
    "Slot",
    "State",
    "Tokens",
    "UserError",
    "__version__",
    "build",
    "fusions",
    "load",
    "memories",
    "ops",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"memx.{name}")
    raise AttributeError(f"module 'memx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
