"""Phantoms of each layout, written once; every test plants its faults in a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from memx.data import phantom
from memx.data.check import camus, camus_stills, clips, echonet, folder, run
from memx.data.check.problem import Problem, from_error
from memx.data.check.run import Report, check
from memx.data.clip import Case, MissingFilesError
from memx.errors import DataError
from memx.registry import layouts


@pytest.fixture(scope="session")
def clean_echonet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients: two train, one validates, one tests."""
    root = tmp_path_factory.mktemp("check") / "echonet"
    phantom.write(root, layout="echonet", patients=4, seed=3, size=64)
    return root


@pytest.fixture(scope="session")
def clean_mhd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients in CAMUS's older release."""
    root = tmp_path_factory.mktemp("check") / "camus_mhd"
    phantom.write(root, layout="camus_mhd", patients=4, seed=3, size=64, frames=6)
    return root


@pytest.fixture(scope="session")
def clean_folder(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CAMUS phantom's first three patients as frames and masks."""
    root = tmp_path_factory.mktemp("check") / "folder"
    write_frames(phantom_root, root / "images", root / "masks", ".png")
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{split}.txt").write_text(f"patient{number:04d}\n")
    return root


@pytest.fixture(scope="session")
def clean_davis(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as DAVIS has it: JPEG frames, masks with a palette, two lists."""
    root = tmp_path_factory.mktemp("check") / "davis"
    write_frames(phantom_root, root / "JPEGImages" / "480p", root / "Annotations" / "480p", ".jpg")
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("patient0001\npatient0003\n")
    (lists / "val.txt").write_text("patient0002\n")
    return root


def write_frames(phantom_root: Path, images: Path, masks: Path, suffix: str) -> None:
    """Four frames of three clips of the CAMUS phantom, and their masks; those of DAVIS, `.jpg`, with a palette."""
    layout = layouts.build("camus")
    for case in [case for case in layout.survey(phantom_root).cases if case.view == "4CH"][:3]:
        clip = layout.load(case)
        assert clip.labels is not None
        for t in range(4):
            image, mask = images / case.patient / f"{t}{suffix}", masks / case.patient / f"{t}.png"
            for file in (image, mask):
                file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((clip.video[t, 0] * 255).round().byte().numpy()).save(image, quality=95)
            labels = Image.fromarray(clip.labels[t].byte().numpy())
            if suffix == ".jpg":
                labels.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
            labels.save(mask)


@pytest.fixture
def clean(
    phantom_root: Path, clean_mhd: Path, clean_echonet: Path, clean_folder: Path, clean_davis: Path
) -> dict[str, Path]:
    """A clean data set of each layout and tree."""
    return {
        "camus": phantom_root,
        "camus_mhd": clean_mhd,
        "echonet": clean_echonet,
        "folder": clean_folder,
        "davis": clean_davis,
    }


@pytest.fixture
def copy(clean: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the clean data set of a layout, to be damaged."""

    def make(layout: str) -> Path:
        return Path(shutil.copytree(clean[layout], tmp_path / layout))

    return make


@pytest.fixture(autouse=True)
def reader_errors(monkeypatch: pytest.MonkeyPatch) -> list[DataError]:
    """The readers' errors that a check was told of; each says apart where, what, and what to do."""
    heard: list[DataError] = []

    def listen(raised: DataError, case: Case | None = None) -> list[Problem]:
        heard.append(raised)
        files = raised.files if isinstance(raised, MissingFilesError) else [raised.file]
        assert all(files) or raised.place, f"no file: {raised}"  # a clip that came from no file has a place alone
        assert not any(raised.what.startswith(f"{file}: ") for file in files), f"the file is told twice: {raised}"
        assert raised.what, raised
        assert raised.remedy, f"no remedy: {raised}"
        assert raised.remedy not in raised.what, f"the remedy is told twice: {raised}"
        assert raised.what not in raised.remedy, f"what is wrong is told twice: {raised}"
        return from_error(raised, case)

    for module in (camus, camus_stills, clips, echonet, folder, run):
        monkeypatch.setattr(module, "from_error", listen)
    return heard


class Tools:
    """Reading reports and damaging files."""

    @staticmethod
    def report(root: Path, layout: str, **options: object) -> Report:
        return check(root, layouts.build(layout, **options), name=layout)

    @staticmethod
    def said(found: Report) -> str:
        """Every problem as a line: severity, where, what, remedy."""
        return "\n".join(f"{p.severity} | {p.where} | {p.what} | {p.remedy}" for p in found.problems)

    @staticmethod
    def nifti(
        file: Path, change: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels, zooms: tuple[float, ...] = ()
    ) -> None:
        """Write a NIfTI file again with other pixels (x, y, t), or another spacing (x, y)."""
        old = nib.load(file)
        new = nib.Nifti1Image(change(np.asarray(old.dataobj).copy()), old.affine)
        new.header.set_xyzt_units(*old.header.get_xyzt_units())
        new.header.set_zooms((*(zooms or old.header.get_zooms()[:2]), 1.0)[: new.ndim])
        nib.save(new, file)

    @staticmethod
    def text(file: Path, old: str, new: str) -> None:
        """Replace the first `old`, which must be there."""
        text = file.read_text()
        assert old in text, f"{old!r} is not in {file}:\n{text[:500]}"
        file.write_text(text.replace(old, new, 1))


@pytest.fixture
def tools() -> type[Tools]:
    return Tools
