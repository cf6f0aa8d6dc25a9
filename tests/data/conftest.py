"""Tiny data sets of each layout: a bright ellipse that shrinks from frame to frame, written as the real ones are."""

import codecs
import csv
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pytest
from PIL import Image


def ellipse_labels(frames: int, size: tuple[int, int]) -> np.ndarray:
    """(t, y, x) uint8: LV (1) inside myocardium (2), left atrium (3) below; the LV shrinks from the first frame on."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    y, x = y / size[0] - 0.4, x / size[1] - 0.45
    labels = np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        radius = 0.25 - 0.1 * t / max(1, frames - 1)
        r = np.hypot(y / 1.2, x)
        labels[t][r < radius + 0.08] = 2
        labels[t][r < radius] = 1
        labels[t][np.hypot(y - 0.45, x) < 0.1] = 3
    return labels


def grey(labels: np.ndarray) -> np.ndarray:
    """A picture of the labels, uint8, with a gradient that tells rows from columns."""
    _, y, x = labels.shape
    ramp = np.linspace(0, 40, y)[:, None] + np.linspace(0, 20, x)
    return (np.array([40, 10, 160, 90])[labels] + ramp).astype(np.uint8)


def write_nifti(path: Path, array: np.ndarray, spacing: tuple[float, float]) -> None:
    """Axes (t, y, x) or (y, x) are written as NIfTI's (x, y, t), with `spacing` (y, x) in mm."""
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose()), np.eye(4))
    image.header.set_zooms((spacing[1], spacing[0], 1.0)[: array.ndim])
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


@pytest.fixture
def make_camus(tmp_path: Path) -> Callable[..., Path]:
    """Write a CAMUS root and return it. `backwards` names the cases that are stored from ES to ED."""

    def make(
        patients: int = 2,
        frames: int = 7,
        size: tuple[int, int] = (30, 20),
        spacing: tuple[float, float] = (0.3, 0.15),
        backwards: tuple[str, ...] = (),
        splits: dict[str, list[int]] | None = None,
    ) -> Path:
        root = tmp_path / "CAMUS_public"
        for number in range(1, patients + 1):
            patient = f"patient{number:04d}"
            for view in ("2CH", "4CH"):
                folder = root / "database_nifti" / patient
                labels = ellipse_labels(frames, (size[0] + number, size[1]))
                for name, t in (("ED", 0), ("ES", -1)):
                    write_nifti(folder / f"{patient}_{view}_{name}.nii.gz", grey(labels)[t], spacing)
                    write_nifti(folder / f"{patient}_{view}_{name}_gt.nii.gz", labels[t], spacing)
                reverse = f"{patient}_{view}" in backwards
                stored = labels[::-1] if reverse else labels
                write_nifti(folder / f"{patient}_{view}_half_sequence.nii.gz", grey(stored), spacing)
                write_nifti(folder / f"{patient}_{view}_half_sequence_gt.nii.gz", stored, spacing)
                ed, es = (frames, 1) if reverse else (1, frames)
                (folder / f"Info_{view}.cfg").write_text(
                    f"ED: {ed}\nES: {es}\nNbFrame: {frames}\nSex: F\nAge: 56\n"
                    "ImageQuality: Good\nEF: 54.5\nFrameRate: 50.5\n"
                )
        for name, numbers in (splits or {}).items():
            file = root / "database_split" / f"subgroup_{name}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"patient{number:04d}\n" for number in numbers))
        return root

    return make


def write_avi(path: Path, pixels: np.ndarray) -> None:
    """(t, y, x) uint8 as lossless grey frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width = pixels.shape[1:]
        stream.pix_fmt = "gray"
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")))
        container.mux(stream.encode())


def tracing(top: float, bottom: float, left: float, right: float) -> list[tuple[float, float, float, float]]:
    """Rows (x1, y1, x2, y2) of a rectangle: the long axis first, then chords from the top to the bottom."""
    middle = (left + right) / 2
    return [(middle, top, middle, bottom)] + [(left, y, right, y) for y in np.linspace(top, bottom, 5)]


@pytest.fixture
def make_echonet(tmp_path: Path) -> Callable[..., Path]:
    """Write an EchoNet root: videos `A`, `B`, `C` (train, val, test), ED in frame 2 and ES in frame 6 of `A`,
    the other way round in the rest; `bare` names videos without a tracing, `ghost` a tracing without a video."""

    def make(bare: tuple[str, ...] = (), ghost: tuple[str, ...] = (), frames: int = 9, size: int = 32) -> Path:
        root = tmp_path / "EchoNet-Dynamic"
        (root / "Videos").mkdir(parents=True)
        listing = [["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]]
        traced = [["FileName", "X1", "Y1", "X2", "Y2", "Frame"]]
        for name, split in (("A", "TRAIN"), ("B", "VAL"), ("C", "TEST")):
            write_avi(root / "Videos" / f"{name}.avi", grey(ellipse_labels(frames, (size, size))))
            listing.append([name, "60.5", "40", "100", str(size), str(size), "51", str(frames), split])
            if name not in bare:
                ed, es = (2, 6) if name == "A" else (6, 2)
                traced += [[f"{name}.avi", *(f"{float(v):g}" for v in row), str(ed)] for row in tracing(4, 24, 6, 18)]
                traced += [[f"{name}.avi", *(f"{float(v):g}" for v in row), str(es)] for row in tracing(8, 20, 8, 16)]
        for name in ghost:
            traced += [
                [f"{name}.avi", *(f"{float(v):g}" for v in row), str(t)]
                for t in (0, 1)
                for row in tracing(4, 24, 6, 18)
            ]
        for file, rows in (("FileList.csv", listing), ("VolumeTracings.csv", traced)):
            with (root / file).open("w", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows(rows)
        return root

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder root: `clips` clips of 12 frames named 1.png … 12.png, masks for every third, colour on demand."""

    def make(clips: int = 3, colour: bool = False, size: tuple[int, int] = (24, 16)) -> Path:
        root = tmp_path / "folder"
        for number in range(1, clips + 1):
            labels = ellipse_labels(12, size)
            for t, frame in enumerate(grey(labels), start=1):
                image = root / "images" / f"clip{number}" / f"{t}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.stack([frame, frame // 2, frame // 4], -1) if colour else frame).save(image)
                mask = root / "masks" / f"clip{number}" / f"{t}.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                if t % 3 == 1:
                    palette = Image.fromarray(labels[t - 1], mode="P")
                    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
                    palette.save(mask)
        return root

    return make


@pytest.fixture
def as_nobody(tmp_path: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A block in which modes bind: root, whom they do not, becomes nobody in it."""

    @contextmanager
    def block() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        above = [folder for folder in tmp_path.parents if folder.stat().st_mode & 0o055 != 0o055]
        modes = [folder.stat().st_mode for folder in above]
        for folder in (tmp_path, *above):
            folder.chmod(0o755)
        # Nobody may not read a Python in root's home, and a codec that was not found is never looked for again.
        codecs.lookup("utf-8-sig")
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
            for folder, mode in zip(above, modes, strict=True):
                folder.chmod(mode)

    yield block
    for path in tmp_path.rglob("*"):  # what stays closed could not be removed
        path.chmod(0o755)
