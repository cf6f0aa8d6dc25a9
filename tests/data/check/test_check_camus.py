"""Every fault that is planted in a CAMUS data set is named with its file and what to do; a clean one has none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

P1, P3 = "database_nifti/patient0001", "database_nifti/patient0003"
HALF = f"{P1}/patient0001_2CH_half_sequence"
INFO = f"{P1}/Info_2CH.cfg"


def mask_of_255(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: np.where(m == 1, 255, 0).astype(np.uint8))


def unknown_label(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: np.where(m == 3, 7, m).astype(np.uint8))


def other_size(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: m[:-1])


def empty_mask(root, tools):
    def change(mask):
        mask[..., 1] = 0
        return mask

    tools.nifti(root / f"{HALF}_gt.nii.gz", change)


def no_atrium(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: np.where(m == 3, 0, m).astype(np.uint8))


def lv_as_background(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: np.where(m == 1, 0, m).astype(np.uint8))


def lv_as_myocardium(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: np.where(m == 1, 2, m).astype(np.uint8))


def lv_gone_at_the_ends(root, tools):
    def change(mask):
        for t in (0, -1):
            mask[..., t][mask[..., t] == 1] = 0
        return mask

    tools.nifti(root / f"{HALF}_gt.nii.gz", change)


def ones_and_zeros(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", lambda p: (p > 60).astype(np.uint8))


def four_bits(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", lambda p: (p // 16).astype(np.uint8))


def reversed_pictures(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", lambda p: p[..., ::-1])


def reversed_masks(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: m[..., ::-1])


def mirrored_masks(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: m[::-1])


def pictures_upside_down(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", lambda p: p[:, ::-1])


def other_ed(root, tools):
    """ED is half way to ES, in whatever direction the sequence is stored."""
    text = (root / INFO).read_text()
    ed, frames = (int(re.search(rf"{key}: (\d+)", text)[1]) for key in ("ED", "NbFrame"))
    (root / INFO).write_text(text.replace(f"ED: {ed}", f"ED: {1 + frames // 2}"))


def still_of_another(root, tools):
    shutil.copy(root / f"{P3}/patient0003_2CH_ED.nii.gz", root / f"{P1}/patient0001_2CH_ED.nii.gz")


def transpose(root, tools, names):
    for name in names:
        tools.nifti(root / f"{P1}/patient0001_2CH_{name}.nii.gz", lambda p: np.swapaxes(p, 0, 1))


def sequence_transposed(root, tools):
    transpose(root, tools, ("half_sequence", "half_sequence_gt"))


def still_transposed(root, tools):
    transpose(root, tools, ("ES",))


def patient_transposed(root, tools):
    transpose(root, tools, ("half_sequence", "half_sequence_gt", "ED", "ED_gt", "ES", "ES_gt"))


def erase_lv(root, tools, share):
    """The lowest rows of the ventricle are background, in every frame of the sequence's mask."""

    def change(mask):
        for t in range(mask.shape[-1]):
            frame = mask[..., t]
            pixels = np.argwhere(frame == 1)
            gone = pixels[np.argsort(pixels[:, 1])[round((1 - share) * len(pixels)) :]]
            frame[tuple(gone.T)] = 0
        return mask

    tools.nifti(root / f"{HALF}_gt.nii.gz", change)


def half_of_the_lv(root, tools):
    erase_lv(root, tools, 0.55)


def part_of_the_lv(root, tools):
    erase_lv(root, tools, 0.3)


def masks_of_one_millimetre(root, tools):
    tools.nifti(root / f"{HALF}_gt.nii.gz", zooms=(1.0, 1.0))


def move_to_training(split: str):
    def plant(root, tools):
        lists = root / "database_split"
        emptied, training = lists / f"subgroup_{split}.txt", lists / "subgroup_training.txt"
        training.write_text(training.read_text() + emptied.read_text())
        emptied.write_text("")

    plant.__name__ = f"no_{split}"
    return plant


def nan_pixels(root, tools):
    def change(pixels):
        pixels = pixels.astype(np.float32)
        pixels[3, 4, 0] = np.nan
        return pixels

    tools.nifti(root / f"{HALF}.nii.gz", change)


def constant(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", lambda p: np.full_like(p, 9))


def frozen(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", lambda p: np.repeat(p[..., :1], p.shape[-1], axis=-1))


def truncated(root, tools):
    file = root / f"{HALF}.nii.gz"
    file.write_bytes(file.read_bytes()[:1500])


def missing_mask(root, tools):
    (root / f"{HALF}_gt.nii.gz").unlink()


def missing_info(root, tools):
    (root / INFO).unlink()


def missing_still(root, tools):
    (root / f"{P1}/patient0001_2CH_ES_gt.nii.gz").unlink()


def missing_view(root, tools):
    for file in (root / P1).glob("*2CH*"):
        file.unlink()


def wrong_count(root, tools):
    text = (root / INFO).read_text()
    (root / INFO).write_text(re.sub(r"NbFrame: \d+", "NbFrame: 99", text))


def es_out_of_range(root, tools):
    (root / INFO).write_text(re.sub(r"ES: \d+", "ES: 77", (root / INFO).read_text()))


def ed_is_es_swapped(root, tools):
    """The masks of ED and ES are exchanged, so that the volume grows from ED to ES."""
    tools.nifti(root / f"{HALF}_gt.nii.gz", lambda m: m[..., ::-1])


def ef_of_130(root, tools):
    (root / INFO).write_text(re.sub(r"EF: .*", "EF: 130", (root / INFO).read_text()))


def ef_of_100(root, tools):
    (root / INFO).write_text(re.sub(r"EF: .*", "EF: 100", (root / INFO).read_text()))


def ef_far_off(root, tools):
    for info in (root / P1).glob("Info_*.cfg"):
        info.write_text(re.sub(r"EF: .*", "EF: 2", info.read_text()))


def no_spacing(root, tools):
    import nibabel as nib

    file = root / f"{HALF}.nii.gz"
    old = nib.load(file)
    new = nib.Nifti1Image(np.asarray(old.dataobj), np.eye(4))
    new.header.set_xyzt_units("unknown", "sec")
    nib.save(new, file)


def absurd_spacing(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", zooms=(40.0, 20.0))


def thin_pixels(root, tools):
    tools.nifti(root / f"{HALF}.nii.gz", zooms=(4.0, 0.9))


def in_no_list(root, tools):
    for file in (root / "database_split").glob("*.txt"):
        file.write_text(file.read_text().replace("patient0001\n", ""))


def in_two_lists(root, tools):
    file = next(f for f in sorted((root / "database_split").glob("*.txt")) if "patient0001" not in f.read_text())
    file.write_text(file.read_text() + "patient0001\n")


def listed_without_folder(root, tools):
    file = root / "database_split" / "subgroup_testing.txt"
    file.write_text(file.read_text() + "patient0999\n")


def list_missing(root, tools):
    (root / "database_split" / "subgroup_testing.txt").unlink()


FAULTS = [
    (mask_of_255, "error", f"{HALF}_gt.nii.gz", "label values 0, 255 found", "write 1 where 255 stands"),
    (unknown_label, "error", f"{HALF}_gt.nii.gz", "label values 0, 1, 2, 7 found", "map the others to one of these"),
    (other_size, "error", f"{HALF}_gt.nii.gz", "the mask is 64 × ", "export the mask again at the image's size"),
    (empty_mask, "error", f"{HALF}_gt.nii.gz", "the mask of frame ", "draw it"),
    (no_atrium, "error", f"{HALF}_gt.nii.gz", "no la (label 3) in any labelled frame", "learnt as background"),
    (lv_as_background, "error", f"{HALF}_gt.nii.gz", "no lv (label 1) in any labelled frame", "learnt as background"),
    (lv_as_myocardium, "error", f"{HALF}_gt.nii.gz", "no lv (label 1) in any labelled frame", "learnt as background"),
    (lv_gone_at_the_ends, "error", f"{HALF}_gt.nii.gz", "no lv (label 1) in frames 0, ", "draw it"),
    (ones_and_zeros, "warning", f"{HALF}.nii.gz", "its brightest pixel is at 0.39% of the range", "scaled"),
    (four_bits, "warning", f"{HALF}.nii.gz", "its brightest pixel is at ", "scaled"),
    (reversed_pictures, "error", f"{HALF}.nii.gz", "the picture of its ED frame is the still of ES", "exchange ED"),
    (reversed_masks, "error", f"{HALF}_gt.nii.gz", "the mask of its ED frame is the still of ES", "exchange ED"),
    (mirrored_masks, "error", f"{HALF}_gt.nii.gz", "ED and ES frame is the still turned left to right", "turn"),
    (pictures_upside_down, "error", f"{HALF}.nii.gz", "of its ED and ES frame is the still turned upside down", "turn"),
    (other_ed, "error", INFO, "by the ED still it is ", "give the right frame: ED: "),
    (other_ed, "warning", INFO, "the ventricle is ", "make sure that ED is the right frame"),
    (still_of_another, "error", "patient0001_2CH_ED.nii.gz", "pixels (y × x), the sequence ", "one acquisition"),
    (sequence_transposed, "error", f"{HALF}.nii.gz", "the axes of the sequence are swapped", "swap them back"),
    (sequence_transposed, "error", f"{HALF}_gt.nii.gz", "the axes of the sequence are swapped", "swap them back"),
    (sequence_transposed, "error", f"{HALF}_gt.nii.gz", "the ventricle lies on its side, ", "swap the axes"),
    (still_transposed, "error", "patient0001_2CH_ES.nii.gz", "the axes of the still are swapped", "swap them back"),
    (patient_transposed, "error", f"{HALF}_gt.nii.gz", "are the axes of the image or the mask swapped?", "swap"),
    (half_of_the_lv, "error", f"{HALF}_gt.nii.gz", "the lv of its ED mask is not that of the still (IoU 0.", "compare"),
    (half_of_the_lv, "error", f"{HALF}_gt.nii.gz", "the lv of its ES mask is not that of the still (IoU 0.", "compare"),
    (part_of_the_lv, "warning", f"{HALF}_gt.nii.gz", "the lv of its ED mask is not that of the still", "compare"),
    (masks_of_one_millimetre, "warning", f"{HALF}_gt.nii.gz", "its pixels are 1 × 1 mm (y × x)", "picture's counts"),
    (move_to_training("validation"), "error", "splits", "no clip is in the split val", "memx data split ROOT"),
    (move_to_training("testing"), "warning", "splits", "no clip is in the split test", "memx data split ROOT"),
    (nan_pixels, "error", f"{HALF}.nii.gz", "are NaN or infinite, the first at (0, 4, 3)", "write the file again"),
    (constant, "error", f"{HALF}.nii.gz", "every frame is one grey value throughout", "write the file again"),
    (frozen, "error", f"{HALF}.nii.gz", "frames are the same", "write the file again"),
    (truncated, "error", f"{HALF}.nii.gz", "", "copy it again"),
    (missing_mask, "error", f"{HALF}_gt.nii.gz", "is missing", "copy these patients again"),
    (missing_info, "error", INFO, "is missing", "copy these patients again"),
    (missing_still, "warning", "patient0001_2CH_ES_gt.nii.gz", "is missing", "copy it again"),
    (missing_view, "error", "patient0001_2CH", "", "copy"),
    (wrong_count, "error", INFO, "says NbFrame: 99", "copy the patient again"),
    (es_out_of_range, "error", INFO, "ES: 77 is out of range", "frames 1.."),
    (ed_is_es_swapped, "error", INFO, "EDV < ESV", "swap ED and ES"),
    (ef_of_130, "error", INFO, "EF: 130 is out of range", "0..100"),
    (ef_of_100, "error", INFO, "an EF of 100%", "between 0 and 100"),
    (ef_far_off, "warning", INFO, "by its masks", "compare masks, ED, ES and EF"),
    (no_spacing, "warning", f"{HALF}.nii.gz", "has no pixel size", "in pixels"),
    (absurd_spacing, "error", f"{HALF}.nii.gz", "a pixel of 20 × 40 mm makes the picture", "true pixel size"),
    (thin_pixels, "warning", f"{HALF}.nii.gz", "4.4 to 1", "make sure"),
    (in_no_list, "error", "patient0001", "in none of the lists", "add the patient to one of the lists"),
    (in_two_lists, "error", "database_split/subgroup_", "patient0001 is also in split", "belongs to one split"),
    (listed_without_folder, "error", "patient0999", "has no folder", "remove the name from the list"),
    (list_missing, "error", "database_split/subgroup_testing.txt", "missing", "restore it"),
]  # fmt: skip


def test_a_clean_data_set_has_no_error_and_its_summary_is_right(phantom_root: Path, tools) -> None:
    """Only sequences stored backwards are remarked upon, which the phantom has as CAMUS does."""
    found = tools.report(phantom_root, "camus")
    assert found.errors == 0, tools.said(found)
    assert {p.what for p in found.problems} <= {"the sequence is stored from ES to ED"}, tools.said(found)
    summary = found.summary
    assert (summary.patients, summary.clips, dict(summary.views)) == (6, 12, {"2CH": 6, "4CH": 6})
    assert sum(patients for patients, _ in summary.splits.values()) == 6
    assert summary.labelled[0] == summary.labelled[1] > 0
    assert summary.classes is not None
    assert [(c.value, c.name) for c in summary.classes] == [(0, "background"), (1, "lv"), (2, "myocardium"), (3, "la")]
    assert sum(c.share for c in summary.classes) == pytest.approx(1)
    assert summary.ef is not None
    assert 0 < summary.ef.min <= summary.ef.median <= summary.ef.max < 100
    assert len(found.thumbnails) == 12


@pytest.mark.parametrize(("plant", "severity", "where", "what", "remedy"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_a_planted_fault_is_named(
    plant: Callable, severity: str, where: str, what: str, remedy: str, copy, tools
) -> None:
    root = copy("camus")
    tools.text(root / P3 / "Info_4CH.cfg", "EF: ", "EF: about ")  # an error of its own, beside the planted one
    plant(root, tools)
    found = tools.report(root, "camus")
    matching = [
        p
        for p in found.problems
        if p.severity == severity and where in p.where and what in p.what and remedy in p.remedy
    ]
    assert len(matching) == 1, tools.said(found)
    assert any("patient0003" in p.where for p in found.problems), "the first fault hid the second"
    assert str(root) not in tools.said(found), "paths are relative to the root"


def test_faults_of_one_clip_are_all_named(copy, tools) -> None:
    """`load` stops at the first; the report does not."""
    root = copy("camus")
    for plant in (mask_of_255, other_size, nan_pixels, es_out_of_range, ef_of_130):
        plant(root, tools)
    text = tools.said(tools.report(root, "camus"))
    for words in ("label values 0, 255", "the mask is 64", "NaN or infinite", "EF: 130", "ES: 77"):
        assert words in text, text
    for plant in (truncated, missing_still):
        plant(root, tools)
    text = tools.said(tools.report(root, "camus"))
    for words in ("patient0001_2CH_half_sequence.nii.gz", "EF: 130", "patient0001_2CH_ES_gt.nii.gz"):
        assert words in text, text


def test_the_same_pixels_in_two_splits_are_a_leak(copy, tools) -> None:
    """A patient that was copied under another name into another split, and one copied within a split."""
    root = copy("camus")
    lists = {f.stem.removeprefix("subgroup_"): f for f in (root / "database_split").glob("*.txt")}
    source = lists["training"].read_text().split()[0]
    for name, into in (("patient0101", "testing"), ("patient0102", "training")):
        folder = root / "database_nifti" / name
        shutil.copytree(root / "database_nifti" / source, folder)
        for file in folder.glob("patient*"):
            file.rename(folder / file.name.replace(source, name))
        lists[into].write_text(lists[into].read_text() + f"{name}\n")
    found = tools.report(root, "camus")
    leaks = [p for p in found.problems if "are the pixels of" in p.what]
    assert {(p.severity, p.where) for p in leaks} == {
        ("error", "patient0101_2CH"), ("error", "patient0101_4CH"),
        ("warning", "patient0102_2CH"), ("warning", "patient0102_4CH"),
    }, tools.said(found)  # fmt: skip
    assert all(f"pixels of {source}" in p.what for p in leaks)


def test_a_data_set_of_damage_alone_is_reported_too(tmp_path: Path, tools) -> None:
    (tmp_path / "database_nifti" / "patient0001").mkdir(parents=True)
    found = tools.report(tmp_path, "camus")
    assert found.errors >= 1
    assert not found.thumbnails
    assert "no usable clip" in tools.said(found)
