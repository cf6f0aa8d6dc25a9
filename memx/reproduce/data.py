"""Where a table's data are: the folder that the user names, or a phantom that is written from its settings."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memx.errors import RecipeError, unknown
from memx.zoo.system import Settings

ROOT = "data.root="


@dataclass(frozen=True)
class DataSource:
    """A data set's folder, and the generator options that it is written from; `options` None: it is the user's.

    `root` None: no folder was named and none can be written; reading it says where the data come from.
    """

    root: Path | None
    options: dict[str, Any] | None = field(default=None)

    @property
    def missing(self) -> bool:
        """Whether it has yet to be written."""
        return self.options is not None and self.root is not None and not (self.root / "memx.json").is_file()

    def write(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Write the phantom. Raises UserError for options that the generator refuses."""
        from memx.data import phantom

        if self.options is None or self.root is None:
            raise ValueError("DataSource.write: these data are the user's, not ours to write")
        phantom.write(self.root, **self.options, progress=progress)


def find_data(settings: Settings, folder: Path, overrides: Sequence[str], *, quick: bool) -> DataSource:
    """The data set of a table: `data.root=…` among the overrides, else a phantom in `folder`, named by its options."""
    named = [text.partition("=")[2] for text in overrides if text.startswith(ROOT)]
    if named:
        return DataSource(Path(named[-1]).expanduser().resolve())
    if settings.phantom is None:
        return DataSource(None)
    options = {"layout": "camus", **settings.phantom, **(settings.quick_phantom if quick else {})}
    _check(options)
    return _phantom(options, folder)


def find_long(settings: Settings, source: DataSource, folder: Path, *, quick: bool) -> DataSource:
    """The data of longer clips: the same patients of a phantom, written with more frames; of the user's data the same.

    Raises RecipeError where the settings do not say how long.
    """
    if source.options is None:
        return source
    return _phantom({**source.options, "frames": long_frames(settings, quick=quick)}, folder)


def long_frames(settings: Settings, *, quick: bool) -> int:
    """Frames of a long clip. Raises RecipeError where the settings do not say how many."""
    if settings.long is None:
        raise RecipeError("long: is missing; say how many frames a long clip has, e.g. `long: {frames: 30, quick: 5}`")
    return settings.long.quick if quick else settings.long.frames


def _phantom(options: dict[str, Any], folder: Path) -> DataSource:
    from memx.data.phantom.dataset import GENERATOR

    digest = hashlib.sha256(json.dumps([GENERATOR, options], sort_keys=True).encode()).hexdigest()[:8]
    return DataSource((folder / f"phantom_{digest}").resolve(), options)


def _check(options: dict[str, Any]) -> None:
    from memx.data import phantom

    parameters = inspect.signature(phantom.write).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "progress"]
    for name in options:
        if name not in known:
            raise RecipeError(f"phantom: {unknown('option', name, known)}")
    if "patients" not in options:
        raise RecipeError("phantom: say how many patients, e.g. `patients: 32`")
