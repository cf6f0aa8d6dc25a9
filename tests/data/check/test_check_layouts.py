"""Layouts are told apart, plug-ins take part, and splits are drawn by patient."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.data.check.assign import patient_of, write_split
from memx.data.check.find import find_layout
from memx.data.check.run import check, info
from memx.data.clip import SPLITS, Case, Clip, Layout, Survey
from memx.data.split import split_names
from memx.errors import DataError, UserError
from memx.registry import layouts


def test_each_layout_is_found(phantom_root: Path, clean_echonet: Path, clean_folder: Path) -> None:
    for root, name in ((phantom_root, "camus"), (clean_echonet, "echonet"), (clean_folder, "folder")):
        assert find_layout(root) == name


def test_what_is_no_data_set_is_refused_with_what_each_layout_looks_for(tmp_path: Path, clean_echonet: Path) -> None:
    with pytest.raises(DataError) as error:
        find_layout(tmp_path)
    for words in ("camus", "database_nifti", "echonet", "FileList.csv", "folder", "images/CLIP"):
        assert words in str(error.value)
    with pytest.raises(DataError, match="no such folder"):
        find_layout(tmp_path / "nowhere")
    with pytest.raises(DataError, match=rf"but {clean_echonet} is echonet"):
        find_layout(clean_echonet.parent)


def test_two_layouts_in_one_folder_are_told_of(copy: Callable[[str], Path]) -> None:
    root = copy("folder")
    (root / "FileList.csv").write_text("FileName\n")
    with pytest.raises(DataError, match="could be echonet or folder; say which: --layout echonet"):
        find_layout(root)


@pytest.mark.usefixtures("own_registry")
def test_a_layout_of_survey_and_load_alone_takes_part(tmp_path: Path) -> None:
    """No hook is overridden: it is found, its clips are checked, and its damage is named."""

    @layouts.register("arrays")
    class Arrays(Layout):
        """One .npy a clip; the first two letters are the patient."""

        def survey(self, root: Path) -> Survey:
            files = sorted(root.glob("*.npy"))
            if not files:
                raise self.not_here(root, "no .npy in it")
            splits = ("train", "val", "test", "train", "train", "train")
            return Survey([Case(f.stem, f.stem[:2], "", s, {"video": f}) for f, s in zip(files, splits, strict=True)])

        def load(self, case: Case) -> Clip:
            video = torch.from_numpy(np.load(case.files["video"]))
            labels = (video[:, 0] > 0.5).long()
            return Clip(video, labels, torch.ones(len(video), dtype=torch.bool), (0.5, 4.0), source=case.files["video"])

    generator = np.random.default_rng(0)
    for name, scale in (("aa1", 1), ("aa2", 1), ("bb1", 3), ("cc1", 0.4)):
        np.save(tmp_path / f"{name}.npy", (scale * generator.random((3, 1, 8, 8))).astype(np.float32))
    np.save(tmp_path / "dd1.npy", np.zeros((0, 1, 8, 8), np.float32))
    (tmp_path / "ee1.npy").write_bytes(b"no array")
    name = find_layout(tmp_path)
    assert name == "arrays"
    found = check(tmp_path, layouts.build(name), name=name)
    said = {(p.severity, p.where, p.what.split(" (")[0]) for p in found.problems}
    assert ("error", "aa", "is in the splits train and val") in said
    assert any(where == "bb1.npy" and "not in [0, 1]" in what for _, where, what in said)
    assert ("error", "cc1.npy", "every mask is empty") in said
    assert ("warning", "aa1.npy", "a pixel is 0.5 × 4 mm") in said
    assert ("error", "dd1.npy", "has no pixels") in said
    assert any(where == "ee1" and what.startswith("load raises ") for _, where, what in said)
    with pytest.raises(UserError, match="has no split lists"):
        write_split(layouts.build(name), tmp_path, dict.fromkeys(SPLITS, 1 / 3), seed=0, by="patient", force=False)


def test_info_agrees_with_check(phantom_root: Path, clean_echonet: Path, clean_folder: Path) -> None:
    """What headers say is what the clips hold."""
    for root, name in ((phantom_root, "camus"), (clean_echonet, "echonet"), (clean_folder, "folder")):
        layout = layouts.build(name)
        quick, left_out = info(root, layout)
        whole = check(root, layout, name=name).summary
        assert left_out == 0
        assert quick.classes is None
        for key in (
            "patients",
            "clips",
            "views",
            "splits",
            "frames",
            "labelled",
            "heights",
            "widths",
            "spacing_y",
            "ef",
        ):
            assert getattr(quick, key) == getattr(whole, key), (name, key)


shares = st.tuples(*[st.integers(0, 10)] * 3).filter(lambda s: sum(s) > 0)


@settings(deadline=None, max_examples=60)
@given(count=st.integers(3, 80), parts=shares, seed=st.integers(0, 5))
def test_a_split_has_the_shares_it_was_asked_for(count: int, parts: tuple[int, int, int], seed: int) -> None:
    """Every name once; counts within one of their share, or one where the share is small; the same in any order."""
    wanted = {split: part / sum(parts) for split, part in zip(SPLITS, parts, strict=True)}
    names = [f"p{number}" for number in range(count)]
    found = split_names(names, wanted, seed)
    assert set(found) == set(names)
    assert found == split_names(reversed(names), wanted, seed)
    for split in SPLITS:
        here = sum(value == split for value in found.values())
        assert (here == 0) == (wanted[split] == 0)
        assert abs(here - count * wanted[split]) < 2


def test_shares_that_make_no_whole_are_refused() -> None:
    with pytest.raises(UserError, match=r"add up to 1.1"):
        split_names("abc", {"train": 0.9, "val": 0.1, "test": 0.1}, 0)
    with pytest.raises(UserError, match="2 patients cannot fill 3 splits"):
        split_names("ab", {"train": 0.8, "val": 0.1, "test": 0.1}, 0)


def test_a_pattern_finds_the_patient() -> None:
    assert patient_of("p1_run2", "^[^_]+") == "p1"
    assert patient_of("run2-p1", "-(.+)$") == "p1"
    for pattern, says in (("zzz", "finds no patient"), ("(", "no regular expression")):
        with pytest.raises(UserError, match=says):
            patient_of("p1", pattern)


EVEN = {"train": 0.5, "val": 0.25, "test": 0.25}


@pytest.mark.parametrize("name", ["camus", "folder"])
def test_lists_that_are_written_are_read(name: str, copy: Callable[[str], Path]) -> None:
    root, layout = copy(name), layouts.build(name)
    with pytest.raises(UserError, match=r"there already; --force writes over them"):
        write_split(layout, root, EVEN, seed=1, by="patient", force=False)
    assigned, files = write_split(layout, root, EVEN, seed=1, by="patient", force=True)
    assert len(files) == 3
    survey = layout.survey(root)
    assert not survey.skipped
    assert {case.patient: case.split for case in survey.cases} == assigned
    before = [file.read_text() for file in files]
    write_split(layout, root, EVEN, seed=1, by="patient", force=True)
    assert [file.read_text() for file in files] == before


def test_clips_of_one_patient_stay_together(copy: Callable[[str], Path]) -> None:
    root, layout = copy("folder"), layouts.build("folder")
    for name in ("images", "masks"):
        for old in sorted((root / name).iterdir()):
            for run in (1, 2, 3):
                (root / name / f"{old.name}_{run}").symlink_to(old, target_is_directory=True)
    assigned, _ = write_split(layout, root, EVEN, seed=2, by="^[^_]+", force=True)
    assert len(assigned) == 12
    for patient in ("patient0001", "patient0002", "patient0003"):
        assert len({split for name, split in assigned.items() if name.startswith(patient)}) == 1


def test_echonets_own_list_is_left_alone(copy: Callable[[str], Path]) -> None:
    root, layout = copy("echonet"), layouts.build("echonet")
    before = (root / "FileList.csv").read_bytes()
    assigned, files = write_split(layout, root, EVEN, seed=7, by="patient", force=False)
    assert (root / "FileList.csv").read_bytes() == before
    assert files == [root / "FileList-seed7.csv"]
    with files[0].open(newline="") as stream:
        assert {row["FileName"]: row["Split"].lower() for row in csv.DictReader(stream)} == assigned
    files[0].replace(root / "FileList.csv")
    assert {case.id: case.split for case in layout.survey(root).cases} == assigned
