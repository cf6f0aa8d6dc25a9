"""What `memx data check` knows of a folder of frames and masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from memx.data.access import entries, is_dir, is_file
from memx.data.check.facts import Facts
from memx.data.check.layout import LayoutChecks
from memx.data.check.problem import Problem, error, from_error
from memx.data.clip import SPLITS, Case, Skipped, Survey
from memx.data.folder import MASK_SUFFIXES, frame_files
from memx.data.folder_tree import find_tree
from memx.data.images import IMAGE_SUFFIXES, natural_key, open_image, read_image
from memx.errors import DataError

if TYPE_CHECKING:
    from memx.data.folder import Folder


_FOLDERS = ("images", "masks", "JPEGImages", "Annotations")


class FolderChecks(LayoutChecks):
    """`images/CLIP`, `masks/CLIP`, and the lists in `splits`."""

    looks_for: ClassVar[str] = "images/CLIP/* and masks/CLIP/*.png, or DAVIS's JPEGImages and Annotations"
    layout: Folder

    def recognises(self, root: Path) -> bool:
        return any(any(map(is_dir, entries(root / name))) for name in _FOLDERS if is_dir(root / name))

    def left_out(self, skipped: Skipped) -> Problem:
        remedies = {
            "unlisted": "add the clip to one of the lists, or write new ones: memx data split ROOT --force",
            "absent": "copy the clip, or remove the name from the list",
        }
        return error(skipped.what, skipped.why, remedies.get(skipped.reason, "add what is missing, or remove the clip"))

    def data_set(self, root: Path, survey: Survey) -> Iterator[Problem]:
        tree = find_tree(root, self.layout.resolution)
        if isinstance(tree, str):
            return
        for folders, suffixes in ((tree.images, IMAGE_SUFFIXES), (tree.masks, MASK_SUFFIXES)):
            kinds = ", ".join(sorted(suffixes))
            for folder in {clip.parent for clip in folders.values()}:
                for file in entries(folder):
                    if is_file(file) and not file.name.startswith("."):
                        move = f"move it to {folder.name}/CLIP, or remove it"
                        yield error(file, "is not read: it does not lie in a clip's folder", move)
            for clip in folders.values():
                try:
                    inside = {file: is_dir(file) for file in entries(clip)}
                except DataError:  # of which `survey` has told
                    continue
                for file, deeper in inside.items():
                    if deeper:
                        yield error(file, "is not read: a clip's folder holds files only", "move it, or remove it")
                    elif file.suffix.lower() not in suffixes and not file.name.startswith("."):
                        yield error(file, f"is not read: files here are {kinds}", "convert it, or remove it")

    def parts(self, case: Case) -> Iterator[Problem]:
        for role, suffixes in (("images", IMAGE_SUFFIXES), ("masks", MASK_SUFFIXES)):
            for file in frame_files(case.files[role], suffixes).values():
                try:
                    read_image(file) if role == "images" else self.layout.read_mask(file)
                except DataError as raised:
                    yield from from_error(raised, case)

    def facts(self, case: Case) -> Facts:
        images, masks = (
            frame_files(case.files["images"], IMAGE_SUFFIXES),
            frame_files(case.files["masks"], MASK_SUFFIXES),
        )
        with open_image(next(iter(images.values()))) as image:
            size = image.height, image.width
        return Facts(case, len(images), size, self.layout.spacing, self.layout.fps, None, len(masks))

    def names(self, root: Path) -> list[str]:
        tree = find_tree(root, self.layout.resolution)
        if isinstance(tree, str):
            raise self.layout.not_here(root, tree)
        return sorted(tree.images.keys() & tree.masks.keys(), key=natural_key)

    def split_files(self, root: Path, assigned: Mapping[str, str], seed: int) -> dict[Path, str]:
        tree = find_tree(root, self.layout.resolution)
        assert not isinstance(tree, str), "names() found clips"
        return {
            tree.lists / f"{split}.txt": "".join(
                f"{name}\n" for name in sorted(assigned, key=natural_key) if assigned[name] == split
            )
            for split in SPLITS
        }
