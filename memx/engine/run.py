"""Run folders: what an experiment leaves behind, complete enough to be loaded and judged alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from memx import lock
from memx.errors import CheckpointError, UserError
from memx.files import PART, cannot_write, remove_parts, write_text
from memx.recipe import Recipe


@dataclass(frozen=True)
class RunFolder:
    """A folder with `recipe.yaml` (filled), `manifest.json`, `model.safetensors` (the best weights), `last/` (what a
    run resumes from), `history.csv`, `report.html` and, once evaluated, `eval/<split>/`, once
    profiled, `profile/`."""

    path: Path

    @classmethod
    def create(cls, recipe: Recipe, path: Path | None = None) -> RunFolder:
        """A new folder, `runs/<date>_<name>_<hash>` unless `path` says another; a run is never written over."""
        path = path or cls.free_path(recipe)
        cls.refuse_taken(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from None
        run = cls(path)
        try:
            run._write_recipe(recipe)
        except BaseException:
            run.discard()
            raise
        return run

    @staticmethod
    def free_path(recipe: Recipe) -> Path:
        """`runs/<date>_<name>_<hash>`, where nothing lies yet."""
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = first = Path("runs") / f"{stamp}_{recipe.name}_{recipe.hash[:6]}"
        for n in range(2, 1000):
            if not path.exists():
                break
            path = first.with_name(f"{first.name}_{n}")
        return path

    @staticmethod
    def refuse_taken(path: Path) -> None:
        """Raise UserError when a run, or anything else, lies at `path`; a start that was killed is nothing."""
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file; --out is a folder")
        if (path / "recipe.yaml").exists():
            raise UserError(
                f"{path}: there is a run here already; choose another --out, or go on with it by `memx train --resume`"
            )
        names = {item.name for item in path.iterdir()} if path.is_dir() else set()
        ours = {lock.NAME, "plugins"} if lock.NAME in names else set()
        if any(not name.startswith(PART) for name in names - ours):
            raise UserError(f"{path}: is not empty and no run; choose another --out")

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run folder."""
        path = Path(path)
        if not path.exists():
            raise CheckpointError(f"{path}: no such run folder; `memx train` writes them under runs/")
        if not (path / "recipe.yaml").is_file():
            raise CheckpointError(f"{path}: not a run folder: it has no recipe.yaml")
        return cls(path)

    def _write_recipe(self, recipe: Recipe) -> None:
        names: list[str] = []
        for plugin, digest in zip(recipe.plugins, recipe.plugin_digests, strict=True):
            name = plugin
            if plugin.endswith(".py"):
                name = f"plugins/{Path(plugin).name}"
                name = f"plugins/{Path(plugin).stem}_{digest[:6]}.py" if name in names else name
                write_text(self.path / name, Path(plugin).read_text(encoding="utf-8"))
            names.append(name)
        data = recipe.data
        if data.root is not None:  # so that the run can be opened from any folder
            data = data.model_copy(update={"root": data.root.expanduser().resolve()})
        write_text(self.path / "recipe.yaml", recipe.model_copy(update={"plugins": names, "data": data}).to_yaml())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process: it is trained by one at a time. What killed ones left half written goes.

        The folder is made where there is none, so that a new run is held before it is created. Of the processes of one
        training (`torchrun`) the first holds it for all. Raises UserError that names the process that holds it.
        """
        with lock.held(self.path, "trains this run"):
            for folder in (self.path, self.path / "last"):
                remove_parts(folder)
            yield

    def discard(self) -> None:
        """Remove what a run that never reached a checkpoint has left."""
        for name in ("recipe.yaml", "manifest.json", "plugins", "last", "tensorboard", lock.NAME):
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: it has more than ours
            self.path.rmdir()

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe.load(self.path / "recipe.yaml")

    @property
    def weights(self) -> Path:
        """The best weights by validation, or the last ones where no validation has been made yet."""
        best = self.path / "model.safetensors"
        return best if best.exists() else self.last_weights

    @property
    def best_weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def last_weights(self) -> Path:
        return self.path / "last" / "model.safetensors"

    @property
    def training_state(self) -> Path:
        return self.path / "last" / "training_state.pt"

    @property
    def untrained(self) -> bool:
        """Whether it holds a recipe and nothing that was trained: its process was killed before it could save."""
        return not any(path.exists() for path in (self.training_state, self.last_weights, self.best_weights))

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        write_text(self.path / name, json.dumps(data, indent=2, default=str) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        return json.loads((self.path / name).read_text(encoding="utf-8"))
