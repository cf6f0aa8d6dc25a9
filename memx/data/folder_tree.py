"""How a folder of clips and masks lies on disk: memx's plain tree, or that of DAVIS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memx.data.access import entries, is_dir
from memx.data.clip import SPLITS, Tell, stop
from memx.data.split import read_split_files
from memx.errors import DataError

_PLAIN, _DAVIS = ("images", "masks"), ("JPEGImages", "Annotations")


@dataclass(frozen=True)
class Tree:
    """The clips' folders by name, those of their masks, and the folder of the split's lists."""

    images: dict[str, Path]
    masks: dict[str, Path]
    lists: Path
    davis: bool

    def splits(self, tell: Tell = stop) -> dict[str, str] | None:
        """The split of each clip; None when there is no list. Mistakes in the lists are told, and raised by default.

        memx's own tree has all three lists or none. DAVIS has no masks for testing, so any of its lists will do.
        """
        files = self.list_files()
        return read_split_files(
            {split: file for split, file in files.items() if not self.davis or file.is_file()}, tell
        )

    def list_files(self) -> dict[str, Path]:
        """Where the list of each split is, or would be."""
        return {split: self.lists / f"{split}.txt" for split in SPLITS}


def find_tree(root: Path, resolution: str | None) -> Tree | str:
    """The tree that lies in `root`, or why there is none.

    In DAVIS's, the clips lie in `JPEGImages` and `Annotations` themselves or, at several sizes, in folders such as
    `480p` there; `resolution` names the one to take. Lists lie in `ImageSets` or in the last of the years there.
    Raises DataError when there are several sizes and none is named, the one named is not there, or a folder may not be
    read.
    """
    if all(is_dir(root / name) for name in _DAVIS) and not all(is_dir(root / name) for name in _PLAIN):
        images, masks = (_sized(root / name, resolution) for name in _DAVIS)
        lists = root / "ImageSets"
        years = sorted(path for path in lists.glob("*") if path.is_dir() and any(path.glob("*.txt")))
        if years and not any(lists.glob("*.txt")):
            lists = years[-1]
        return Tree(_folders(images), _folders(masks), lists, davis=True)
    if resolution is not None:
        raise DataError(
            f"resolution: {resolution!r} is for DAVIS's layout, and this is not", file=root, remedy="leave it out"
        )
    absent = [name for name in _PLAIN if not is_dir(root / name)]
    if absent:
        return f"no {' and no '.join(absent)} folder in it"
    return Tree(_folders(root / "images"), _folders(root / "masks"), root / "splits", davis=False)


def _sized(folder: Path, resolution: str | None) -> Path:
    """The folder of the clips at one size."""
    folders, sizes = _folders(folder), []
    closed: DataError | None = None
    for path in folders.values():
        try:
            if any(map(is_dir, entries(path))):
                sizes.append(path)
        except DataError as told:
            closed = told
    if closed is not None and (sizes or len(folders) == 1):  # else it is a clip, which is told of with its frames
        raise closed
    names = ", ".join(path.name for path in sizes)
    if resolution is None:
        if len(sizes) > 1:
            raise DataError(
                f"has clips at several sizes, {names}", file=folder, remedy="choose one: layout option `resolution`"
            )
        return sizes[0] if sizes else folder
    chosen = next((path for path in sizes if path.name == resolution), None)
    if chosen is None:
        raise DataError(
            f"resolution: there is no {resolution!r}", file=folder, remedy=f"there is {names or 'one size only'}"
        )
    return chosen


def _folders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in entries(folder) if is_dir(path) and not path.name.startswith(".")}
