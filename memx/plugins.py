"""Components from outside: a local Python file that the user named. (Installed entry points: registry.py.)"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from memx.errors import RecipeError


def load_plugin(path: Path) -> str:
    """Import a Python file, so that what it registers can be named in recipes; returns its content's digest.

    The same content is imported once, wherever it lies. Raises RecipeError when the file is missing or fails.
    """
    if path.suffix != ".py":
        raise RecipeError(
            f"plugin {str(path)!r}: a plugin is a Python file (.py) or the name of an installed entry point"
        )
    try:
        source = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"plugin {path}: cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(source).hexdigest()
    name = f"memx_plugin_{path.stem}_{digest[:12]}"
    if name in sys.modules:
        return digest
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
    return digest
