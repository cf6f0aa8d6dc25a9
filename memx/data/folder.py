"""A folder of frames and masks, in the way of DAVIS: any number of objects, any subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from memx.data.access import entries, is_dir, is_file
from memx.data.clip import Case, Clip, Layout, Skipped, Survey, Tell, stop
from memx.data.folder_tree import find_tree
from memx.data.images import IMAGE_SUFFIXES, natural_key, open_image
from memx.data.pixels import label_values, same_size
from memx.data.split import split_by_patient
from memx.data.streams.images import ImagesStream
from memx.errors import DataError
from memx.registry import Neutral, layouts

if TYPE_CHECKING:
    from memx.data.check.layout import LayoutChecks

MASK_SUFFIXES = frozenset({".png"})
Positive = Annotated[float, Field(gt=0)]


@layouts.register("folder")
class Folder(Layout):
    """A folder: `images/CLIP/*.png`, and `masks/CLIP/*.png` of the same names for the frames that are labelled.

    Or as DAVIS has it: `JPEGImages[/480p]/CLIP`, `Annotations[/480p]/CLIP` and `ImageSets[/YEAR]/{train,val}.txt`.

    Images are PNG, JPEG, BMP or TIFF of any mode, and are read as `memx predict` reads them: 8-bit values are divided
    by 255; of deeper ones, floats of 0..1 stay, clips of 0..255 are divided by 255, and others go from the clip's
    smallest value to its largest.
    A mask is a grey or palette PNG whose pixels are object numbers: 0 background, 1, 2, …. Frames run in the order of
    the numbers in their names (2 before 10). Clips are split by `splits/{train,val,test}.txt`, a clip's name a line;
    without these files by `split_by_patient`, 80 / 10 / 10, each clip its own patient.
    """

    source = (
        "A folder data set has images/CLIP/*.png (or another kind of image) and masks/CLIP/*.png with the same names, "
        "or DAVIS's JPEGImages and Annotations\n"
        "To point at yours: data.layout=folder data.root=/path/to/folder\n"
        "To train on the phantom instead: memx data phantom data/phantom --layout camus --patients 32, "
        "then memx train gdkvm_phantom"
    )

    def __init__(
        self,
        *,
        objects: Annotated[int, Field(ge=1, le=255, description="the largest object number that a mask may hold")] = 20,
        mask_values: Annotated[
            Literal["objects", "binary"],
            Field(description="`objects`: pixels are object numbers; `binary`: every non-zero pixel is object 1"),
        ] = "objects",
        spacing: Annotated[
            tuple[Positive, Positive] | None,
            Field(description="millimetres a pixel, (y, x), of all clips; null: unknown"),
        ] = None,
        fps: Annotated[float | None, Field(gt=0, description="frames a second, of all clips; null: unknown")] = None,
        resolution: Annotated[
            str | None,
            Field(
                min_length=1,
                description="DAVIS's tree only: the folder of one size, such as `480p`; null: the only one",
            ),
            Neutral(None),
        ] = None,
    ):
        self.objects = objects
        self.mask_values = mask_values
        self.spacing = spacing
        self.fps = fps
        self.resolution = resolution

    def survey(self, root: Path) -> Survey:
        return self.collect(root, stop)

    def checks(self) -> LayoutChecks:
        from memx.data.check.folder import FolderChecks

        return FolderChecks(self)

    def collect(self, root: Path, tell: Tell) -> Survey:
        root = Path(root)
        if not is_dir(root):
            raise self.not_here(root, "no such folder")
        entries(root)
        tree = find_tree(root, self.resolution)
        if isinstance(tree, str):
            raise self.not_here(root, tree)
        images, masks = tree.images, tree.masks
        skipped = [Skipped(name, "has images, but no masks", "unlabelled") for name in images if name not in masks]
        skipped += [Skipped(name, "has masks, but no images", "unpaired") for name in masks if name not in images]
        usable: list[str] = []
        for name in images.keys() & masks.keys():
            try:
                if not frame_files(images[name], IMAGE_SUFFIXES):
                    skipped.append(Skipped(name, f"no {_words(IMAGE_SUFFIXES)} in its folder of images"))
                elif not frame_files(masks[name], MASK_SUFFIXES):
                    skipped.append(Skipped(name, "no .png in its folder of masks"))
                else:
                    usable.append(name)
            except DataError as error:
                tell(error)
        usable.sort(key=natural_key)
        assigned = tree.splits(tell)
        if assigned is None:
            assigned = split_by_patient(usable)
        lists = tree.lists.relative_to(root).as_posix()
        skipped += [
            Skipped(name, f"in none of the lists in {lists}", "unlisted") for name in usable if name not in assigned
        ]
        skipped += [
            Skipped(name, f"listed in {lists}/{assigned[name]}.txt, but has no images", "absent")
            for name in sorted(assigned.keys() - images.keys() - masks.keys())
        ]
        cases = [
            Case(name, name, "", assigned[name], {"images": images[name], "masks": masks[name]})
            for name in usable
            if name in assigned
        ]
        return Survey(cases, skipped)

    def load(self, case: Case) -> Clip:
        folder = case.files["images"]
        images = frame_files(folder, IMAGE_SUFFIXES)
        masks = frame_files(case.files["masks"], MASK_SUFFIXES)
        if not images:
            raise DataError(f"holds no {_words(IMAGE_SUFFIXES)}", file=folder, remedy="copy the clip again")
        stream = ImagesStream(folder, colour=True)
        places = {file.stem: t for t, file in enumerate(stream.files)}
        strays = [name for name in masks if name not in places]
        if strays:
            what = f"has no image {strays[0]} in {folder.parent.name}/{folder.name}"
            raise DataError(what, file=masks[strays[0]], remedy="name both alike")
        video = stream.read()
        labels = np.zeros((len(video), *stream.size), dtype=np.uint8)
        labelled = np.zeros(len(video), dtype=bool)
        for name, file in masks.items():
            t, mask = places[name], self.read_mask(file)
            same_size(stream.size, mask.shape, stream.files[t], file)
            labels[t], labelled[t] = mask, True
        return Clip(
            video=video,
            labels=torch.from_numpy(labels),
            labelled=torch.from_numpy(labelled),
            spacing=self.spacing,
            fps=self.fps,
            patient=case.patient,
            view=case.view,
            source=folder,
        )

    def read_mask(self, file: Path) -> np.ndarray:
        """A mask as uint8 object numbers (y, x). Raises DataError for colour and for numbers that are not allowed."""
        with open_image(file) as image:
            mode, pixels = image.mode, np.asarray(image)
        if pixels.ndim != 2:
            raise DataError(
                f"a mask in colour (mode {mode})",
                file=file,
                remedy="save it as a grey or palette PNG of object numbers",
            )
        if self.mask_values == "binary":
            return (pixels > 0).astype(np.uint8)
        try:
            return label_values(pixels, file, range(self.objects + 1))
        except DataError as error:
            remedy = f"{error.remedy} (or set mask_values: binary, or objects)"
            raise DataError(error.what, file=file, remedy=remedy) from None


def frame_files(folder: Path, endings: frozenset[str]) -> dict[str, Path]:
    """The files of a folder by their stem, in the order of the numbers in it.

    Raises DataError for two files of one name, and for a folder that may not be read.
    """
    found: dict[str, Path] = {}
    for path in sorted(entries(folder), key=lambda path: natural_key(path.name)) if is_dir(folder) else []:
        if path.suffix.lower() in endings and not path.name.startswith(".") and is_file(path):
            if path.stem in found:
                raise DataError(
                    f"{found[path.stem].name} is a frame of the same name", file=path, remedy="keep one of them"
                )
            found[path.stem] = path
    return found


def _words(endings: frozenset[str]) -> str:
    return ", ".join(sorted(endings))
