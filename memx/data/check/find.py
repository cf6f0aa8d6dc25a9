"""Which layout a folder has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydantic

from memx.data.access import entries, folder_to_read, is_dir
from memx.data.clip import Layout
from memx.errors import DataError, RecipeError
from memx.registry import layouts

_BELOW = 50  # folders that are looked into for a data set that lies one level deeper


def find_layout(root: Path) -> str:
    """The name of the one registered layout that recognises `root`.

    Raises DataError when there is no such folder, when no layout knows it (the message says what each looks for, and
    whether a folder below is known), when several do, or when the folder may not be read.
    """
    folder_to_read(root)
    closed: list[DataError] = []
    found = list(_known(root, closed))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"could be {' or '.join(found)}", file=root, remedy=f"say which: --layout {found[0]}")
    if closed:
        raise closed[0]
    wanted = "\n".join(f"  {name:10} {layout.checks().looks_for}" for name, layout in _layouts())
    below = next(((folder, name) for folder in _folders(root) for name in _known(folder, [])), None)
    hint = f"but {below[0]} is {below[1]}: name that folder. " if below else ""
    raise DataError("not a data set that memx knows", file=root, remedy=f"{hint}What each layout looks for:\n{wanted}")


def _layouts() -> Iterator[tuple[str, Layout]]:
    """Every layout that can be built without options."""
    for entry in layouts:
        try:
            yield entry.name, entry.build({}, entry.validate({}))
        except (pydantic.ValidationError, RecipeError):
            continue


def _known(root: Path, closed: list[DataError]) -> Iterator[str]:
    """The layouts that recognise a folder; why one could not look is added to `closed`."""
    for name, layout in _layouts():
        try:
            if layout.checks().recognises(root):
                yield name
        except DataError as raised:
            closed.append(raised)


def _folders(root: Path) -> list[Path]:
    return [path for path in entries(root) if is_dir(path) and not path.name.startswith(".")][:_BELOW]
