"""Made-up studies for the tests of what is shown of a search."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_made_up() -> ModuleType:
    """The module beside this file, which no package holds."""
    if "made_up_studies" not in sys.modules:
        spec = importlib.util.spec_from_file_location("made_up_studies", Path(__file__).with_name("made_up.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["made_up_studies"] = module
        spec.loader.exec_module(module)
    return sys.modules["made_up_studies"]


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """`study(trials, goals=…)` and its goals."""
    return load_made_up()
