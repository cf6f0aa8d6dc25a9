"""Where the systems are: `zoo/` of a checkout, or what an installed wheel has of it."""

from __future__ import annotations

from pathlib import Path

from memx.errors import UserError, unknown
from memx.recipe_source import SYSTEM_FILE, shipped_folders
from memx.zoo.system import System, load_system


def systems() -> dict[str, System]:
    """Every system of the zoo, by name. Raises RecipeError for a `system.yaml` with mistakes."""
    return {name: load_system(folder) for name, folder in _folders().items()}


def find_system(name: str) -> System:
    """One system by name. Raises UserError naming those that there are."""
    folders = _folders()
    if name not in folders:
        raise UserError(unknown("system", name, folders))
    return load_system(folders[name])


def _folders() -> dict[str, Path]:
    found = sorted(path.parent for folder in shipped_folders() for path in folder.glob(f"*/{SYSTEM_FILE}"))
    return {folder.name: folder for folder in found}
