"""Decoded, resized clips kept for the next time: in memory by each process, or in a folder for all of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from memx._version import __version__
from memx.data.clip import Case, Layout
from memx.data.fingerprint import content_digest
from memx.data.packed import PackedClip
from memx.errors import UserError
from memx.files import atomic, cannot_write

log = logging.getLogger(__name__)
_FORMAT = "2"
_DAY = 24 * 3600.0


class ClipCache(ABC):
    """Packed clips by their case."""

    @abstractmethod
    def get(self, case: Case) -> PackedClip | None:
        """The clip, or None where it has to be read."""

    @abstractmethod
    def put(self, case: Case, clip: PackedClip) -> None:
        """Keep a clip that was read."""


class NoCache(ClipCache):
    """Keeps nothing."""

    def get(self, case: Case) -> PackedClip | None:
        return None

    def put(self, case: Case, clip: PackedClip) -> None:
        pass


class MemoryCache(ClipCache):
    """Keeps clips in the process. A forked worker begins with what its parent has; a spawned one begins empty."""

    def __init__(self) -> None:
        self._clips: dict[str, PackedClip] = {}

    def get(self, case: Case) -> PackedClip | None:
        return self._clips.get(case.id)

    def put(self, case: Case, clip: PackedClip) -> None:
        self._clips[case.id] = clip

    def __reduce__(self) -> tuple[type[MemoryCache], tuple[()]]:
        return MemoryCache, ()


class DiskCache(ClipCache):
    """Keeps clips in a folder, one safetensors file each, read through the system's page cache by every process.

    folder    where; created when missing. It may be deleted at any time
    layout    the reader, whose options and source code are part of the key
    settings  what else decides the stored numbers, such as the size

    A file's name is the SHA-256 of the format, memx's version and data code, the versions of the libraries that decode
    and resize, the layout with its options, the settings, the case, and its files (names and whole content), so that an
    entry never has to be made invalid. Entries carry a checksum: a missing or broken one is read anew and written
    again. They appear under their name whole, so that processes may write one at the same time; what a killed writer
    left is removed after a day. When the disk refuses, that is logged as a warning, once a folder, and the process goes
    on without writing.

    Raises UserError when the folder cannot be made, and for an option of the layout that has no plain value.
    """

    def __init__(self, folder: Path, layout: Layout, settings: dict[str, object]):
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        _remove_left_over(self.folder)
        known = [_FORMAT, __version__, _libraries(), _code(type(layout)), type(layout).__qualname__]
        options = {name: _plain(value, name, layout) for name, value in vars(layout).items()}
        self._settings = hashlib.sha256(json.dumps([*known, options, settings], sort_keys=True).encode()).hexdigest()
        self._paths: dict[str, Path] = {}  # a case's files are looked up once
        self._whole: set[Path] = set()  # and the checksum of an entry is tested once
        self._writes = True

    def path(self, case: Case) -> Path:
        """Where the entry of a case is, or would be; looked up once.

        Raises DataError when a file of the case cannot be read.
        """
        if case.id not in self._paths:
            self._paths[case.id] = self._path(case)
        return self._paths[case.id]

    def _path(self, case: Case) -> Path:
        parts = [self._settings, case.id, case.patient, case.view]
        for role, path in sorted(case.files.items()):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if not file.is_dir():
                    parts += [role, file.relative_to(path.parent).as_posix(), content_digest(file)]
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def get(self, case: Case) -> PackedClip | None:
        path = self.path(case)
        try:
            with safe_open(str(path), framework="numpy") as file:
                about = json.loads(file.metadata()["clip"])
                arrays = {name: file.get_tensor(name) for name in ("video", "labels", "labelled")}
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: is broken (%s); it is made anew", path, error)
            return None
        if path not in self._whole:
            if about.pop("crc32", None) != _checksum(arrays, about):
                log.warning("%s: is broken (its checksum is wrong); it is made anew", path)
                return None
            self._whole.add(path)
        labelled = arrays["labelled"].astype(bool)
        return PackedClip(
            arrays["video"], arrays["labels"], labelled, about["ed"], about["es"], frozenset(about["values"])
        )

    def put(self, case: Case, clip: PackedClip) -> None:
        if not self._writes:
            return
        arrays = {
            "video": np.ascontiguousarray(clip.video),
            "labels": np.ascontiguousarray(clip.labels),
            "labelled": clip.labelled.astype(np.uint8),
        }
        about = {"ed": clip.ed, "es": clip.es, "values": sorted(clip.values)}
        about["crc32"] = _checksum(arrays, about)
        try:
            with atomic(self.path(case), durable=False) as part:  # what a power cut spoils is made anew
                save_file(arrays, part, metadata={"clip": json.dumps(about)})
        except (UserError, SafetensorError) as error:
            self._writes = False
            if self.folder not in _warned:
                _warned.add(self.folder)
                log.warning("the cache of clips is not written any more; training goes on without it: %s", error)


def default_folder() -> Path:
    """Where `data.cache=disk` keeps clips: `$XDG_CACHE_HOME/memx/clips`, which mostly is `~/.cache/memx/clips`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "memx" / "clips"


def make_cache(where: bool | Path, layout: Layout, settings: dict[str, object]) -> ClipCache:
    """The cache that `data.cache` names: none, in memory, or in a folder (`disk`: the default one)."""
    if isinstance(where, bool):
        return MemoryCache() if where else NoCache()
    return DiskCache(default_folder() if str(where) == "disk" else where, layout, settings)


def _checksum(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> int:
    check = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in ("video", "labels", "labelled"):
        array = arrays[name]
        check = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), check)
        check = zlib.crc32(array.reshape(-1).view(np.uint8).data, check)
    return check


_warned: set[Path] = set()


def _remove_left_over(folder: Path) -> None:
    """Remove unfinished entries that nobody has written to for a day: those of processes that were killed."""
    for part in folder.glob("*/.part-*"):
        with suppress(OSError):  # another process may do the same
            if time.time() - part.stat().st_mtime > _DAY:
                part.unlink()


def _plain(value: object, name: str, layout: Layout) -> Any:
    """A value in JSON's terms, the same in every process. Raises UserError where there is no such value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return ["path", str(value)]
    if isinstance(value, list | tuple):
        return [_plain(item, name, layout) for item in value]
    if isinstance(value, set | frozenset):
        return ["set", sorted(json.dumps(_plain(item, name, layout)) for item in value)]
    if isinstance(value, Mapping):
        return ["map", sorted([json.dumps(_plain(item, name, layout)) for item in pair] for pair in value.items())]
    raise UserError(
        f"data.cache: {type(layout).__name__}.{name} is a {type(value).__name__}, which has no plain value by which "
        "clips on disk could be told apart; make it of numbers, texts, paths, lists and mappings, or say "
        "data.cache=memory"
    )


@cache
def _libraries() -> dict[str, str]:
    """The versions of what decodes and resizes: another one may give other numbers."""
    return {name: version(name) for name in ("av", "nibabel", "numpy", "pillow", "pydicom", "torch")}


@cache
def _code(layout: type) -> str:
    """The SHA-256 of the source that decodes and resizes: memx/data and the module of the layout."""
    here = Path(__file__).parent
    files = [*here.glob("*.py"), *(here / "streams").glob("*.py")]
    module = getattr(sys.modules.get(layout.__module__), "__file__", None)
    if module:
        files.append(Path(module))
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
