"""From paths to clips: which files and folders are clips, and which kind each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from memx.data.access import entries, is_dir, is_file, permitted
from memx.data.images import IMAGE_SUFFIXES, image_files, natural_key
from memx.data.streams.base import Stream, clip_name
from memx.data.streams.dicom import DicomStream
from memx.data.streams.images import ImagesStream
from memx.data.streams.mhd import MhdStream
from memx.data.streams.nifti import NiftiStream
from memx.data.streams.video import VideoStream
from memx.errors import DataError

_BY_SUFFIX: dict[str, Callable[..., Stream]] = {
    **dict.fromkeys((".nii", ".nii.gz"), NiftiStream),
    **dict.fromkeys((".mhd", ".mha"), MhdStream),
    **dict.fromkeys((".avi", ".mp4", ".m4v", ".mov", ".mkv"), VideoStream),
    **dict.fromkeys((".dcm", ".dicom"), DicomStream),
}
KINDS = ".nii, .nii.gz, .mhd, .mha, .avi, .mp4, .mov, .mkv, .dcm (or DICOM under any name), or a folder of images"


def open_stream(path: str | Path, *, colour: bool = False) -> Stream:
    """Open a clip on disk as a stream of frames, its kind told by its suffix, or else by its first bytes.

    colour   yield red, green and blue where the clip stores colour; otherwise everything becomes grey

    Raises DataError when the path is not there, is of no known kind, or cannot be read.
    """
    path = Path(path)
    if is_dir(path):
        return ImagesStream(path, colour=colour)
    if not path.exists():
        raise DataError("no such file or folder", file=path)
    if path.stat().st_size == 0:
        raise DataError("the file is empty", file=path, remedy="copy it again from its source")
    kind = _kind(path)
    if kind is None:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise DataError("one image is no clip", file=path, remedy="give the folder that holds its frames")
        raise DataError("not a kind of clip that is read here", file=path, remedy=f"there are {KINDS}")
    return kind(path, colour=colour)


def find_clips(paths: Iterable[str | Path]) -> list[Path]:
    """The clips that files and folders stand for, each once, in the order given and natural order within folders.

    A file is taken as it is. A folder is searched with all that is below it: its clip files are clips; a folder with
    images and no clip file is itself one clip. Passed over in folders: hidden files, DICOMDIR, CAMUS's ground truth
    (`*_gt`), the folders that a prediction was written to, and whatever is of no known kind.

    Raises DataError when a path is not there or a folder holds no clip.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        folder = is_dir(path)
        if not path.exists():
            raise DataError("no such file or folder", file=path)
        clips = list(_walk(path, set())) if folder else [path]
        if not clips:
            raise DataError(
                "no clip in this folder or below (results of `memx predict` are none)",
                file=path,
                remedy=f"a clip is {KINDS}",
            )
        for clip in clips:
            found.setdefault(clip.resolve(), clip)
    return list(found.values())


def _walk(folder: Path, visited: set[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in visited:
        return
    visited.add(real)
    if _is_prediction(folder):
        return
    items = (item for item in entries(folder) if not item.name.startswith((".", "__")))
    items = sorted(items, key=lambda item: natural_key(item.name))
    clips = [item for item in items if is_file(item) and _is_clip(item)]
    yield from clips
    if not clips and image_files(folder):
        yield folder
    for item in items:
        if is_dir(item):
            yield from _walk(item, visited)


def _is_prediction(folder: Path) -> bool:
    """Whether `memx predict` wrote this folder: summary, overlay and masks (a file or a folder) are there."""
    beside = all(is_file(folder / name) for name in ("summary.json", "overlay.mp4"))
    return beside and any(item.name.split(".")[0] == "masks" for item in entries(folder))


def _is_clip(file: Path) -> bool:
    if file.name.upper() == "DICOMDIR" or clip_name(file).endswith("_gt"):
        return False
    return _kind(file) is not None


def _kind(file: Path) -> Callable[..., Stream] | None:
    name = file.name.lower()
    by_name = _BY_SUFFIX.get(".nii.gz" if name.endswith(".nii.gz") else file.suffix.lower())
    return by_name or _kind_by_content(file)


def _kind_by_content(file: Path) -> Callable[..., Stream] | None:
    with permitted(file), file.open("rb") as opened:
        head = opened.read(132)
    if head[128:132] == b"DICM":
        return DicomStream
    avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    mp4 = head[4:8] == b"ftyp"
    matroska = head[:4] == b"\x1aE\xdf\xa3"
    return VideoStream if avi or mp4 or matroska else None
