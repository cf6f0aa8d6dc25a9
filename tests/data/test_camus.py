"""The CAMUS reader, on files with the real data set's traps planted."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from memx.data.camus import Camus
from memx.data.split import split_by_patient
from memx.data.streams import open_stream
from memx.errors import DataError

LV, MYOCARDIUM = 1, 2


def _path(root: Path, name: str) -> Path:
    return root / "database_nifti" / "patient0001" / f"patient0001_2CH_{name}.nii.gz"


def _load(root: Path, case_id: str = "patient0001_2CH", **options):
    layout = Camus(**options)
    return layout.load(next(case for case in layout.cases(root) if case.id == case_id))


def _rewrite(path: Path, change) -> None:
    image = nib.nifti1.load(path)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), np.eye(4)), path)


def test_reads_what_was_written(make_camus):
    clip = _load(make_camus(size=(30, 20), spacing=(0.3, 0.15)))
    assert clip.video.shape == (7, 1, 31, 20)
    assert clip.video.dtype == torch.float32
    assert clip.labels.shape == (7, 31, 20)
    assert clip.labels.dtype == torch.uint8
    assert clip.labelled.all()
    assert clip.spacing == pytest.approx((0.3, 0.15))
    assert (clip.ed, clip.es, clip.ef, clip.fps) == (0, 6, 54.5, 50.5)
    assert (clip.patient, clip.view) == ("patient0001", "2CH")
    assert clip.extra["ImageQuality"] == "Good"


@pytest.mark.parametrize(
    ("unit", "zoom", "spacing"),
    [
        ("unknown", (0.3, 0.15), (0.3, 0.15)),
        ("unknown", (1.0, 1.0), None),
        ("mm", (1.0, 1.0), (1.0, 1.0)),
        ("micron", (300.0, 150.0), (0.3, 0.15)),
        ("meter", (3e-4, 1.5e-4), (0.3, 0.15)),
    ],
)
@pytest.mark.parametrize("sequence", ["half", "ed_es"])
def test_spacing_is_what_prediction_reads_from_the_same_file(make_camus, unit, zoom, spacing, sequence):
    root = make_camus()
    for name in ("half_sequence", "ED", "ES"):
        path = _path(root, name)
        image = nib.nifti1.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), np.eye(4))
        image.header.set_zooms((zoom[1], zoom[0], 1.0)[: image.ndim])
        image.header.set_xyzt_units(unit)
        nib.save(image, path)
        assert open_stream(path).spacing == (spacing if spacing is None else pytest.approx(spacing, rel=1e-6))
    found = _load(root, sequence=sequence).spacing
    assert found == (spacing if spacing is None else pytest.approx(spacing, rel=1e-6))


def test_pixels_and_labels_keep_their_places(make_camus, request):
    clip = _load(make_camus())
    stored = np.asarray(nib.nifti1.load(clip.source).dataobj)
    for t, y, x in ((0, 3, 5), (4, 12, 9), (6, 30, 19)):
        assert clip.video[t, 0, y, x].item() == pytest.approx(stored[x, y, t] / 255)
    assert set(clip.labels.unique().tolist()) == {0, 1, 2, 3}


def test_a_mask_whose_header_scales_it_is_told_so(make_camus):
    root = make_camus()
    path = _path(root, "half_sequence_gt")
    _rewrite(path, lambda array: array * np.float32(1.0000001))
    with pytest.raises(DataError, match=r"_gt.nii.gz: labels are not whole numbers, such as .*; write .* scl_slope 1"):
        _load(root)


def test_a_sequence_from_es_to_ed_is_turned_round(make_camus):
    root = make_camus(backwards=("patient0001_2CH",))
    turned, straight = _load(root), _load(root, "patient0001_4CH")
    assert (turned.ed, turned.es) == (0, 6)
    torch.testing.assert_close(turned.video, straight.video)
    torch.testing.assert_close(turned.labels, straight.labels)
    areas = (turned.labels == LV).sum((1, 2))
    assert areas[0] > areas[-1]


def test_ed_es_reads_the_two_still_frames(make_camus):
    root = make_camus(backwards=("patient0001_2CH",))
    still, half = _load(root, sequence="ed_es"), _load(root)
    assert (still.ed, still.es, still.fps, len(still)) == (0, 1, None, 2)
    torch.testing.assert_close(still.video, half.video[[0, -1]])
    torch.testing.assert_close(still.labels, half.labels[[0, -1]])


@pytest.mark.parametrize("frames_axis", [(slice(None), slice(None), None, slice(None))])
def test_a_singleton_depth_axis_is_dropped(make_camus, frames_axis):
    root = make_camus()
    before = _load(root)
    for name in ("half_sequence", "half_sequence_gt"):
        _rewrite(_path(root, name), lambda array: array[frames_axis])
    torch.testing.assert_close(_load(root).labels, before.labels)


def test_root_may_be_the_nifti_folder(make_camus):
    root = make_camus(3, splits={"training": [1], "validation": [2], "testing": [3]})
    layout = Camus()
    assert layout.cases(root) == layout.cases(root / "database_nifti")


def test_split_files_decide(make_camus):
    root = make_camus(4, splits={"training": [3, 1], "validation": [2], "testing": [9]})
    layout = Camus(views=("4CH",))
    assert [case.id for case in layout.cases(root, "train")] == ["patient0001_4CH", "patient0003_4CH"]
    assert [case.patient for case in layout.cases(root, "val")] == ["patient0002"]
    skipped = {item.what: item.why for item in layout.survey(root).skipped}
    assert "no folder" in skipped["patient0009"]
    assert "none of the lists" in skipped["patient0004"]
    with pytest.raises(DataError, match=r"no cases in split 'test'; usable cases: train 2, val 1, test 0"):
        layout.cases(root, "test")


def test_without_split_files_patients_are_split_and_stay_together(make_camus):
    cases = Camus().cases(make_camus(5))
    by_patient = {case.patient: case.split for case in cases}
    assert all(by_patient[case.patient] == case.split for case in cases)
    assert by_patient == split_by_patient(by_patient)
    assert set(by_patient.values()) == {"train", "val", "test"}


def test_a_patient_in_two_splits_is_refused(make_camus):
    root = make_camus(3, splits={"training": [1, 2], "validation": [2], "testing": [3]})
    with pytest.raises(DataError, match=r"subgroup_validation.txt: patient0002 is also in split 'train'"):
        Camus().cases(root)


def test_a_lone_split_file_is_refused(make_camus):
    with pytest.raises(DataError, match=r"subgroup_validation.txt.*missing"):
        Camus().cases(make_camus(3, splits={"training": [1, 2, 3]}))


def test_unknown_split_names_the_nearest(make_camus):
    with pytest.raises(DataError, match="did you mean 'train'"):
        Camus().cases(make_camus(), "trian")


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_a_wrong_root_gets_three_lines(tmp_path, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as error:
        Camus().cases(tmp_path / where)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert str(tmp_path / where) in lines[0]
    assert ". CAMUS comes from https" in lines[0]
    assert "https://www.creatis.insa-lyon.fr/Challenge/camus/" in lines[0]
    assert "CC BY-NC-SA 4.0" in lines[0]
    assert lines[1].startswith("To point at your copy: data.root=/path/to/CAMUS_public (the folder with database_nifti")
    assert "memx data phantom data/phantom --layout camus --patients 32" in lines[2]
    assert "memx train gdkvm_phantom" in lines[2]


def test_missing_files_are_all_named(make_camus):
    root = make_camus()
    _path(root, "half_sequence_gt").unlink()
    (root / "database_nifti" / "patient0002" / "Info_4CH.cfg").unlink()
    with pytest.raises(DataError, match=r"(?s)2 files are missing.*patient0001_2CH_half_sequence_gt.*Info_4CH.cfg"):
        Camus().cases(root)


def test_a_patient_without_a_view_is_left_out_and_reported(make_camus, caplog):
    root = make_camus()
    for file in (root / "database_nifti" / "patient0001").glob("*2CH*"):
        file.unlink()
    cases = Camus().cases(root)
    assert [case.id for case in cases] == ["patient0001_4CH", "patient0002_2CH", "patient0002_4CH"]
    assert "patient0001_2CH: no file of this view" in caplog.text


def test_what_is_left_out_is_said_once(make_camus, caplog):
    root = make_camus(3, splits={"training": [1], "validation": [2], "testing": []})
    for split in ("train", "val", None):
        Camus().cases(root, split)
    assert caplog.text.count("patient0003: in none of the lists") == 1


def test_a_file_that_goes_missing_after_the_survey(make_camus):
    layout, root = Camus(), make_camus()
    case = layout.cases(root)[0]
    case.files["video"].unlink()
    with pytest.raises(DataError, match=r"half_sequence.nii.gz: is missing"):
        layout.load(case)


@pytest.mark.parametrize("keep", [0, 20, 400])
def test_a_truncated_file_is_refused(make_camus, keep):
    root = make_camus()
    path = _path(root, "half_sequence")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"half_sequence.nii.gz: (not a readable NIfTI|.*truncated)"):
        _load(root)


def test_labels_of_255_name_found_and_allowed(make_camus):
    root = make_camus()
    _rewrite(_path(root, "half_sequence_gt"), lambda labels: np.where(labels == 1, 255, 0).astype(np.uint8))
    with pytest.raises(
        DataError, match=r"_gt.nii.gz: label values 0, 255 found, 0..3 allowed; write 1 where 255 stands"
    ):
        _load(root)


def test_fractional_labels_are_refused(make_camus):
    root = make_camus()
    _rewrite(_path(root, "half_sequence_gt"), lambda labels: labels.astype(np.float32) / 2)
    with pytest.raises(DataError, match=r"labels are not whole numbers, such as 0.5"):
        _load(root)


def test_a_mask_of_another_size_names_both(make_camus):
    root = make_camus()
    _rewrite(_path(root, "half_sequence_gt"), lambda labels: labels[:, :-3])
    with pytest.raises(DataError, match=r"the mask is 28 × 20 .* in 7 frames, its image .* is 31 × 20 .* in 7 frames"):
        _load(root)


def test_nan_pixels_are_refused(make_camus):
    root = make_camus()

    def poison(pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.astype(np.float32)
        pixels[3, 4, 5] = np.nan
        return pixels

    _rewrite(_path(root, "half_sequence"), poison)
    with pytest.raises(
        DataError, match=r"half_sequence.nii.gz: 1 of \d+ pixels are NaN or infinite, the first at \(5, 4, 3\)"
    ):
        _load(root)


@pytest.mark.parametrize(
    ("factor", "match"), [(20.0, "want 0..255"), (-1.0, "want 0..255"), (1 / 255, "multiply them by 255")]
)
def test_pixels_on_another_scale_are_refused(make_camus, factor, match):
    root = make_camus()
    _rewrite(_path(root, "half_sequence"), lambda pixels: (pixels * factor).astype(np.float32))
    with pytest.raises(DataError, match=match):
        _load(root)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("ES: 7\nNbFrame: 7\n", r"Info_2CH.cfg: has no ED; it has ES, NbFrame"),
        ("", "has no ED; it has no keys"),
        ("ED: 1\nES: 8\n", r"ES: 8 is out of range; the sequence has frames 1..7"),
        ("ED: 0\nES: 7\n", r"ED: 0 is out of range"),
        ("ED: 4\nES: 4\n", "both frame 4"),
        ("ED: one\nES: 7\n", "ED: 'one' is not a whole number"),
        ("ED: 1\nES: 7\nNbFrame: 9\n", "says NbFrame: 9, but the sequence has 7 frames"),
        ("ED: 1\nES: 7\nEF: 120\n", r"EF: 120 is out of range; want 0..100"),
        ("ED: 1\nES: 7\nFrameRate: nan\n", "FrameRate: nan is out of range"),
    ],
)
def test_a_wrong_cfg_is_refused(make_camus, text, match):
    root = make_camus()
    (root / "database_nifti" / "patient0001" / "Info_2CH.cfg").write_text(text)
    with pytest.raises(DataError, match=match):
        _load(root)


def test_ed_and_es_of_different_sizes_are_refused(make_camus):
    root = make_camus()
    for name in ("ES", "ES_gt"):
        _rewrite(_path(root, name), lambda array: array[:-1])
    with pytest.raises(DataError, match=r"_ES.nii.gz: 31 × 19 pixels .* but patient0001_2CH_ED.nii.gz is 31 × 20"):
        _load(root, sequence="ed_es")
