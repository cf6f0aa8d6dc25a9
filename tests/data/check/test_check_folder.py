"""Every fault that is planted in a folder of frames and masks is named with its file and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

A = "patient0001"


def change(file: str, pixels: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        with Image.open(root / file) as image:
            array = np.asarray(image)
        Image.fromarray(pixels(array)).save(root / file)

    return plant


def cut(root: Path) -> None:
    file = root / f"images/{A}/2.png"
    file.write_bytes(file.read_bytes()[:60])


def no_object(root: Path) -> None:
    for t in range(4):
        change(f"masks/{A}/{t}.png", lambda m: m * 0)(root)


def two_lists(root: Path) -> None:
    file = root / "splits/test.txt"
    file.write_text(f"{file.read_text()}{A}\n")


FAULTS = {
    "mask of 255": (change(f"masks/{A}/1.png", lambda m: (m > 0).astype(np.uint8) * 255), f"masks/{A}/1.png",
                    "label values 0, 255 found", "mask_values: binary"),
    "colour": (change(f"masks/{A}/1.png", lambda m: np.stack([m] * 3, -1)), f"masks/{A}/1.png", "in colour", "save it"),
    "size": (change(f"masks/{A}/1.png", lambda m: m[:-3]), f"masks/{A}/1.png", "the mask is", "export the mask again"),
    "empty": (no_object, f"masks/{A}", "every mask is empty", "draw them"),
    "constant": (change(f"images/{A}/3.png", lambda p: p * 0), f"images/{A}", "frame 3 of 4 is one grey", ""),
    "cut": (cut, f"images/{A}/2.png", "cannot be read as an image", "copy it again"),
    "no masks": (lambda root: shutil.rmtree(root / "masks" / A), A, "has images, but no masks", "add what is missing"),
    "no images": (lambda root: shutil.rmtree(root / "images" / A), A, "has masks, but no images", "add what"),
    "stray mask": (lambda root: (root / f"images/{A}/2.png").unlink(), f"masks/{A}/2.png", "has no image", "name both"),
    "other file": (lambda root: (root / f"masks/{A}/a.txt").write_text("?"), f"masks/{A}/a.txt", "is not read", ""),
    "loose file": (lambda root: (root / "images/x.png").write_text("?"), "images/x.png", "is not read", "move it"),
    "unlisted": (lambda root: (root / "splits/train.txt").write_text(""), A, "in none of the lists", "add the clip"),
    "two lists": (two_lists, "splits/test.txt", "also in split 'train'", "one split"),
    "listed": (lambda root: (root / "splits/val.txt").write_text("patient0002\nx\n"), "x", "listed in", "remove the"),
}  # fmt: skip


def test_a_clean_data_set_has_no_problem(clean_folder: Path, tools) -> None:
    found = tools.report(clean_folder, "folder")
    assert found.problems == [], tools.said(found)
    assert found.summary.classes is not None
    assert [count.value for count in found.summary.classes] == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, copy, tools) -> None:
    plant, where, what, remedy = FAULTS[fault]
    root = copy("folder")
    plant(root)
    found = tools.report(root, "folder")
    errors = [p for p in found.problems if p.severity == "error"]
    matching = [p for p in errors if where in p.where and what in p.what and remedy in p.remedy]
    assert matching, tools.said(found)


def test_every_mask_of_255_is_named_and_the_option_mends_them(copy, tools) -> None:
    root = copy("folder")
    for file in (root / "masks").rglob("*.png"):
        change(str(file.relative_to(root)), lambda m: (m == 1).astype(np.uint8) * 255)(root)
    found = tools.report(root, "folder")
    assert sum("255" in p.what for p in found.problems) == 12, tools.said(found)
    mended = tools.report(root, "folder", mask_values="binary")
    assert mended.problems == [], tools.said(mended)


def test_one_frame_under_two_names_is_found(copy, tools) -> None:
    root = copy("folder")
    shutil.copy(root / f"images/{A}/0.png", root / "images/patient0003/0.png")
    found = tools.report(root, "folder")
    assert any(
        p.severity == "error" and "1 frame of patient0003 (test) is the pixels of" in p.what for p in found.problems
    )


def test_a_listed_clip_that_is_absent_is_named_with_its_list(copy, tools) -> None:
    """The list of DAVIS's year, not the year alone."""
    for kind, lists in (("davis", "ImageSets/2017"), ("folder", "splits")):
        root = copy(kind)
        file = root / lists / "train.txt"
        file.write_text(file.read_text() + "ghost\n")
        found = tools.report(root, "folder")
        assert f"error | ghost | listed in {lists}/train.txt, but has no images" in tools.said(found)
