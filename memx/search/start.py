"""From a recipe with a `search:` to a study that workers can join: everything that can be refused is refused here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import optuna

from memx.recipe import Recipe
from memx.search.folder import SearchFolder
from memx.search.rows import Standing
from memx.search.storage import default_url, open_storage
from memx.search.study import asks, digest, join, refuse_other, search_of, standing

HEARTBEAT = 20
"""Seconds between a trial's signs of life."""


@dataclass(frozen=True)
class Started:
    """A study that is ready for workers.

    created  whether this process made it; false where it joined one that was there
    """

    recipe: Recipe
    folder: SearchFolder
    study: optuna.Study
    url: str
    created: bool

    def standing(self) -> Standing:
        return standing(self.study, self.recipe, self.folder.path)


def folder_of(recipe: Recipe, out: Path | None = None) -> SearchFolder:
    """The folder of a search, which need not be there yet.

    Raises UserError where something else than a search lies there, or one that asks something else.
    """
    folder = SearchFolder(out) if out is not None else SearchFolder.default(recipe, digest(recipe))
    folder.refuse_taken()
    if folder.begun:  # its recipe is not written over, nor a second study put beside its own
        refuse_other(f"the search in {folder.path}", json.loads(json.dumps(asks(folder.recipe()))), recipe)
    return folder


def start(
    recipe: Recipe,
    *,
    out: Path | None = None,
    url: str | None = None,
    name: str | None = None,
    heartbeat: int = HEARTBEAT,
) -> Started:
    """Make the folder, and make or join the study.

    Raises UserError for a study that asks something else and for a storage that cannot be reached; nothing is left
    behind then.
    """
    folder = folder_of(recipe, out)
    fresh = not folder.path.exists()
    try:
        folder.make()
        started = attach(recipe, folder, url=url, name=name, heartbeat=heartbeat)
        folder.write(recipe)
    except BaseException:
        if fresh:
            folder.discard()
        raise
    return started


def attach(
    recipe: Recipe,
    folder: SearchFolder,
    *,
    url: str | None = None,
    name: str | None = None,
    heartbeat: int = HEARTBEAT,
) -> Started:
    """Make or join the study of a folder that is there."""
    url = url or default_url(folder.path)
    storage = open_storage(url, heartbeat=heartbeat, retries=search_of(recipe).retries)
    study, created = join(recipe, storage, name or f"{recipe.name}_{digest(recipe)[:6]}")
    return Started(recipe, folder, study, url, created)
