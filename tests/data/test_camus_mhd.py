"""CAMUS's older release, on files that the phantom wrote in it."""

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from memx.data import ClipDataset, phantom
from memx.data.camus import Camus
from memx.data.streams import open_stream
from memx.errors import DataError

SEED = 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same patients in both layouts; the third one's sequences run from ES to ED."""
    folder = tmp_path_factory.mktemp("camus")
    for layout in ("camus", "camus_mhd"):
        phantom.write(folder / layout, layout=layout, patients=6, seed=SEED, size=64, frames=5)
    return folder / "camus", folder / "camus_mhd"


@pytest.fixture
def root(written: tuple[Path, Path], tmp_path: Path) -> Path:
    return shutil.copytree(written[1], tmp_path / "mhd")


def _part(root: Path, name: str) -> Path:
    return root / "training" / "patient0001" / f"patient0001_{name}"


def _first(root: Path, **options):
    layout = Camus(**options)
    return layout.load(next(case for case in layout.cases(root) if case.id == "patient0001_2CH"))


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _spacing(words: str) -> str:
    return f"ElementSpacing = {words}"


@pytest.mark.parametrize("sequence", ["half", "ed_es"])
def test_both_releases_give_the_same_clips(written, sequence):
    layout = Camus(sequence=sequence)
    new, old = (layout.cases(root) for root in written)
    assert [(case.id, case.split) for case in old] == [(case.id, case.split) for case in new]
    assert len(old) == 12
    for a, b in zip(new, old, strict=True):
        first, second = layout.load(a), layout.load(b)
        torch.testing.assert_close(second.video, first.video)
        assert second.spacing == pytest.approx(first.spacing, rel=1e-5)
        assert (second.ed, second.es, second.ef) == (first.ed, first.es, first.ef)
        assert (second.patient, second.view, second.extra) == (first.patient, first.view, first.extra)
        assert second.labelled.nonzero()[:, 0].tolist() == sorted((first.ed, first.es))
        torch.testing.assert_close(second.labels[second.labelled], first.labels[[first.ed, first.es]])
        assert second.labels[~second.labelled].sum() == 0


def test_a_sequence_from_es_to_ed_is_turned_round(written):
    layout, turned = Camus(), 0
    for case in layout.cases(written[1]):
        stored_from_es = "ES: 1\n" in case.files["info"].read_text()
        turned += stored_from_es
        clip = layout.load(case)
        assert (clip.ed, clip.es) == (0, 4)
        assert (clip.labels[0] == 1).sum() > (clip.labels[4] == 1).sum() > 0
        stored = sitk.GetArrayFromImage(sitk.ReadImage(str(case.files["video"])))
        np.testing.assert_allclose(clip.video[0, 0].numpy() * 255, stored[-1 if stored_from_es else 0], atol=1e-4)
    assert turned == 2


def _es_in_3_and_ed_in_4(root: Path, pattern: str):
    """patient0001's 2CH clip of 5 frames, as if its cfg said that ES is frame 3 and ED frame 4, counted from 1."""
    info = next(root.glob(f"{pattern}/patient0001/Info_2CH.cfg"))
    info.write_text(re.sub(r"(?m)^ES: \d+$", "ES: 3", re.sub(r"(?m)^ED: \d+$", "ED: 4", info.read_text())))
    clip = _first(root)
    assert (len(clip), clip.ed, clip.es) == (5, 1, 2)
    return clip, info.parent


def test_ed_and_es_inside_a_reversed_sequence(written, tmp_path):
    clip, folder = _es_in_3_and_ed_in_4(shutil.copytree(written[0], tmp_path / "nifti"), "database_nifti")
    stored, mask = (
        nibabel.load(folder / f"patient0001_2CH_half_sequence{part}.nii.gz").get_fdata().T for part in ("", "_gt")
    )
    np.testing.assert_allclose(clip.video[:, 0].numpy() * 255, stored[::-1], atol=1e-4)
    np.testing.assert_array_equal(clip.labels.numpy(), mask[::-1])
    assert clip.labelled.all()


def test_ed_and_es_inside_a_reversed_sequence_of_the_older_release(root):
    clip, folder = _es_in_3_and_ed_in_4(root, "training")
    read = {
        part: sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"patient0001_2CH_{part}.mhd")))
        for part in ("sequence", "ED_gt", "ES_gt")
    }
    np.testing.assert_allclose(clip.video[:, 0].numpy() * 255, read["sequence"][::-1], atol=1e-4)
    assert clip.labelled.tolist() == [False, True, True, False, False]
    np.testing.assert_array_equal(clip.labels[1].numpy(), read["ED_gt"].squeeze())
    np.testing.assert_array_equal(clip.labels[2].numpy(), read["ES_gt"].squeeze())
    assert clip.labels[[0, 3, 4]].sum() == 0


def test_spacing_is_0_308_by_0_154_as_prediction_reads_it(root):
    for file in root.rglob("patient0001_2CH_*.mhd"):
        line = next(line for line in file.read_text().splitlines() if line.startswith("ElementSpacing"))
        _edit(file, line, _spacing("0.308 0.154 1.54"))
    for sequence in ("half", "ed_es"):
        assert _first(root, sequence=sequence).spacing == pytest.approx((0.154, 0.308))
    assert open_stream(_part(root, "2CH_sequence.mhd")).spacing == pytest.approx((0.154, 0.308))


def test_it_trains_from_its_two_masks(written):
    layout = Camus()
    items = ClipDataset(layout, layout.cases(written[1]), size=32, frames=10, structures={"lv": [1], "la": [3]})
    for i in range(len(items)):
        item = items[i]
        assert item["supervised"].nonzero()[:, 0].tolist()[:: len(item["supervised"]) - 1] in ([0, 9], [0])
        assert item["masks"][0, 0].sum() > item["masks"][-1, 0].sum() > 0


def test_masks_of_the_whole_sequence_are_used_where_they_are(root):
    image = sitk.ReadImage(str(_part(root, "2CH_sequence.mhd")))
    labels = (sitk.GetArrayFromImage(image) > 40).astype(np.uint8)
    mask = sitk.GetImageFromArray(labels)
    mask.SetSpacing(image.GetSpacing())
    sitk.WriteImage(mask, str(_part(root, "2CH_sequence_gt.mhd")), useCompression=True)
    clip = _first(root)
    assert clip.labelled.all()
    np.testing.assert_array_equal(clip.labels.numpy(), labels)


@pytest.mark.parametrize("sub", [".", "training"])
def test_the_root_may_be_the_patients_folder(root, sub):
    assert len(Camus().cases(root / sub)) == 12


def test_the_fold_decides_the_split(root):
    lists = root / "training" / "listSubGroups"
    for name in ("training", "validation", "testing"):
        shutil.copy(lists / f"subGroup1_{name}.txt", lists / f"subGroup2_{name}.txt")
    train, test = (lists / f"subGroup2_{name}.txt" for name in ("training", "testing"))
    trained, tested = train.read_text(), test.read_text()
    train.write_text(tested)
    test.write_text(trained)
    assert [c.id for c in Camus(fold=1).cases(root, "train")] == [c.id for c in Camus(fold=2).cases(root, "test")]
    with pytest.raises(DataError, match=r"has no subGroup3_\*.txt; it has subGroup1, subGroup2"):
        Camus(fold=3).cases(root)


def test_a_fold_of_the_nifti_release_is_refused(written):
    with pytest.raises(DataError, match=r"database_split: fold: 2, but this release has one split"):
        Camus(fold=2).cases(written[0])


def test_patients_without_masks_are_left_out_and_said_so(root, caplog):
    for file in root.rglob("patient0002_*_gt.*"):
        file.unlink()
    assert "patient0002" not in {case.patient for case in Camus().cases(root)}
    assert "patient0002_2CH: no mask, as the challenge's testing patients" in caplog.text


@pytest.mark.parametrize("name", ["2CH_sequence.raw", "2CH_ED_gt.raw", "2CH_ES_gt.mhd"])
def test_missing_files_are_named(root, name):
    _part(root, name).unlink()
    with pytest.raises(DataError, match=rf"(?s)1 files are missing.*patient0001_{name}"):
        Camus().cases(root)


@pytest.mark.parametrize(
    ("name", "old", "new", "match"),
    [
        ("2CH_sequence.mhd", "DimSize = ", "DimSize = 9", r"2CH_sequence.mhd: .*promises .* bytes"),
        ("2CH_sequence.mhd", "DimSize = ", "DimSize = 99999999", r"2CH_sequence.mhd: .*promises .* bytes"),
        ("2CH_sequence.mhd", "patient0001_2CH_sequence.raw", "../x.raw", r"2CH_sequence.mhd: .*ElementDataFile"),
        ("2CH_sequence.mhd", "patient0001_2CH_sequence.raw", "/etc/hostname", r"2CH_sequence.mhd: .*ElementDataFile"),
        ("2CH_sequence.mhd", "ElementSpacing = ", "ElementSpacing = nan ", r"2CH_sequence.mhd: elementspacing is 'nan"),
        ("2CH_sequence.mhd", "MET_UCHAR", "MET_RUBBISH", r"2CH_sequence.mhd: ElementType is 'MET_RUBBISH'"),
        ("2CH_ED_gt.mhd", "NDims = 3", "NDims = 7", r"2CH_ED_gt.mhd: .*NDims 7"),
    ],
)
def test_a_wrong_header_is_refused_by_name(root, name, old, new, match):
    _edit(_part(root, name), old, new)
    with pytest.raises(DataError, match=match):
        _first(root)


def test_a_cut_raw_file_is_refused(root):
    raw = _part(root, "2CH_sequence.raw")
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"2CH_sequence.mhd: .*truncated"):
        _first(root)


def test_a_mask_of_another_size_is_refused(root):
    for suffix in (".mhd", ".raw"):
        shutil.copy(_part(root, f"4CH_ED_gt{suffix}"), _part(root, f"2CH_ED_gt{suffix}"))
    _edit(_part(root, "2CH_ED_gt.mhd"), "4CH", "2CH")
    with pytest.raises(DataError, match=r"2CH_ED_gt.mhd: the mask is .* its image patient0001_2CH_sequence.mhd is"):
        _first(root)


def test_the_summary_names_the_layout(written):
    assert json.loads((written[1] / "memx.json").read_text())["layout"] == "camus_mhd"
