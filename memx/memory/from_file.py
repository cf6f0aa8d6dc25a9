"""The memories that a Python file registers."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memx.errors import RecipeError, unknown
from memx.plugins import load_plugin
from memx.registry import Entry, Part, memories, registries


def memories_in(path: str | Path) -> list[Entry]:
    """Load the file as a plug-in and give the memories that it registered, in the order of the file.

    Raises RecipeError, with the line, when the file is missing or fails, and when it registers no memory.
    """
    path = Path(path)
    try:
        digest = load_plugin(path)
    except RecipeError as error:
        if line_in(path, error.__cause__ or error) or isinstance(error.__cause__, SyntaxError):
            raise RecipeError(_failure(path, error.__cause__ or error)) from error
        raise RecipeError(str(error).replace("plugin", "file", 1)) from error
    except SystemExit as stop:
        line = line_in(path, stop)
        where = f"{path}:{line[0]}" if line else str(path)
        raise RecipeError(f"{where}: the file ends the program when it is imported (sys.exit)") from stop
    mark = digest[:12]  # the plug-in's module is named after it
    made_here = [
        entry
        for registry in registries().values()
        for entry in registry.known()
        if entry.factory.__module__.startswith("memx_plugin_") and entry.factory.__module__.endswith(mark)
    ]
    found = [entry for entry in made_here if entry.kind == memories.kind]
    if not found:
        others = ", ".join(f"{entry.kind} {entry.name!r}" for entry in made_here)
        instead = f"it registers {others}. P" if others else "p"
        raise RecipeError(f'{path}: registers no memory; {instead}ut `@memx.memories.register("name")` above its class')
    return found


def memory_in(path: str | Path, name: str, options: Mapping[str, Any] | None = None) -> Part:
    """The memory `name` of the file with these options, as a law takes it.

    Raises RecipeError as `memories_in` does, and for a name that the file does not register.
    """
    names = [entry.name for entry in memories_in(path)]
    if name not in names:
        raise RecipeError(f"{path}: {unknown('memory', name, names)}")
    return Part(memories.kind, name, dict(options or {}))


def line_in(path: str | Path, error: BaseException) -> tuple[int, str] | None:
    """Line and function of the file that the error came through last; None where it did not."""
    path = Path(path).resolve()
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if frame.lineno and Path(frame.filename).resolve() == path]
    return (mine[-1].lineno or 0, mine[-1].name) if mine else None


def _failure(path: Path, error: BaseException) -> str:
    line, says = line_in(path, error), f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and not line:
        return f"{path}:{error.lineno}: {type(error).__name__}: {error.msg}"
    return f"{path}{f':{line[0]}' if line else ''}: {error if isinstance(error, RecipeError) else says}"
