"""From a recipe with a `search:` to a study that workers can join: everything that can be refused is refused here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from memx.errors import UserError
from memx.recipe import Recipe
from memx.search.folder import OWN, SearchFolder, StudyPlace
from memx.search.rows import Standing
from memx.search.storage import default_url, open_storage, shown_url
from memx.search.study import ID, asks, digest, join, refuse_other, search_of, standing

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
        folder.write(recipe, _place(started))  # again, too: the budget may have grown
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
    """Join the study of a folder, or make one for a folder that has none.

    Raises UserError where the study named here is not the one that the folder's trials belong to.
    """
    known = folder.study()
    retries = search_of(recipe).retries
    if known is None:
        url = url or default_url(folder.path)
        study, created = join(recipe, open_storage(url, heartbeat=heartbeat, retries=retries), name or _name(recipe))
        return Started(recipe, folder, study, url, created)
    url = url_of(folder, known, url)
    if name not in (None, known.name):
        raise UserError(f"the study of {folder.path} is {known.name}, not {name}; leave --study away, or choose --out")
    storage = open_storage(url, heartbeat=heartbeat, retries=retries)
    find(storage, known, url)
    return Started(recipe, folder, join(recipe, storage, known.name)[0], url, False)


def url_of(folder: SearchFolder, known: StudyPlace, url: str | None) -> str:
    """Where the study of a folder lies, of which `url` may tell the password or another name of the host.

    Raises UserError where it is not given and needed, or is given and the study lies in the folder.
    """
    own = default_url(folder.path)
    if known.storage == OWN:
        if url is not None and not _same_file(url, own):
            raise UserError(
                f"the study of {folder.path} lies in its {OWN}, not in {shown_url(url)}; leave --storage away "
                "and unset OPTUNA_STORAGE, or choose another --out"
            )
        if not (folder.path / OWN).is_file():
            raise UserError(
                f"{folder.path / OWN}: is not there, and the study of the trials beside it lies in it; put it back "
                "(was it left behind when the folder was copied?), or search anew with another --out"
            )
        return own
    if url is None:
        raise UserError(
            f"the study of {folder.path} lies in {known.storage}; give that as --storage, or export OPTUNA_STORAGE"
        )
    return url


def find(storage: BaseStorage, known: StudyPlace, url: str) -> optuna.Study:
    """The study that a folder's trials belong to. Raises UserError where it is not in this storage."""
    names = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=known.name, storage=storage) if known.name in names else None
    if study is None or study.user_attrs.get(ID) != known.id:
        raise UserError(
            f"{shown_url(url)} has {'no' if study is None else 'another'} study {known.name}: that of the search lies "
            f"in {known.storage}; give its --storage"
        )
    return study


def _same_file(url: str, own: str) -> bool:
    prefix = "sqlite:///"
    return url.startswith(prefix) and f"{prefix}{Path(url.removeprefix(prefix)).resolve()}" == own


def _place(started: Started) -> StudyPlace:
    own = started.url == default_url(started.folder.path)
    study = started.study
    return StudyPlace(study.study_name, study.user_attrs[ID], OWN if own else shown_url(started.url))


def _name(recipe: Recipe) -> str:
    return f"{recipe.name}_{digest(recipe)[:6]}"
