"""Components from outside, named in a recipe: a local Python file, or the entry point of an installed package."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from memx.errors import RecipeError, unknown
from memx.registry import Entry, installed_plugins, load_installed, registries

_entries: dict[str, list[Entry]] = {}
"""What each file registered, by the digest of its content."""


def load_plugin(name: str | Path) -> str:
    """Import a plug-in, so that what it registers can be named in recipes; returns a digest of what was imported.

    A name that ends in `.py` is a file: the same content is imported once, wherever it lies, and naming it again makes
    its components the current ones. Any other name is an entry point of the group `memx.components`.
    Raises RecipeError when it is missing or fails.
    """
    if Path(name).suffix == ".py":
        return _load_file(Path(name))
    points = installed_plugins()
    if str(name) not in points:
        known = unknown("plug-in", str(name), points)
        raise RecipeError(f"{known}. A plug-in is a Python file (.py) or the name of an installed entry point")
    point = points[str(name)]
    load_installed(point)
    version = point.dist.version if point.dist else ""
    return hashlib.sha256(f"{point.value} {version}".encode()).hexdigest()


def _load_file(path: Path) -> str:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"plugin {path}: cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(source).hexdigest()
    if digest in _entries:
        for entry in _entries[digest]:
            registries()[entry.kind].put(entry)
        return digest
    name = f"memx_plugin_{path.stem}_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except RecipeError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise RecipeError(f"plugin {path}: {type(error).__name__}: {error}") from error
    made_here = [e for r in registries().values() for e in r.known() if e.factory.__module__ == name]
    _entries[digest] = made_here
    return digest
