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
from memx.data.check.run import Report, check
from memx.registry import layouts


@pytest.fixture(scope="session")
def clean_echonet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients: two train, one validates, one tests."""
    root = tmp_path_factory.mktemp("check") / "echonet"
    phantom.write(root, layout="echonet", patients=4, seed=3, size=64)
    return root


@pytest.fixture(scope="session")
def clean_folder(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CAMUS phantom's first three patients as frames and masks."""
    root = tmp_path_factory.mktemp("check") / "folder"
    layout = layouts.build("camus")
    for case in [case for case in layout.survey(phantom_root).cases if case.view == "4CH"][:3]:
        clip = layout.load(case)
        for t in range(4):
            for name, array in (("images", clip.video[t, 0] * 255), ("masks", clip.labels[t])):
                file = root / name / case.patient / f"{t}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.round().byte().numpy()).save(file)
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{split}.txt").write_text(f"patient{number:04d}\n")
    return root


@pytest.fixture
def copy(phantom_root: Path, clean_echonet: Path, clean_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the clean data set of a layout, to be damaged."""
    clean = {"camus": phantom_root, "echonet": clean_echonet, "folder": clean_folder}

    def make(layout: str) -> Path:
        return Path(shutil.copytree(clean[layout], tmp_path / layout))

    return make


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
