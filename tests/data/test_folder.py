"""The folder reader."""

import numpy as np
import pytest
import torch
from PIL import Image

from memx.data.folder import Folder
from memx.data.streams import open_stream
from memx.errors import DataError


def _load(root, name="clip1", **options):
    layout = Folder(**options)
    return layout.load(next(case for case in layout.cases(root) if case.id == name))


def test_reads_what_was_written(make_folder):
    clip = _load(make_folder(), fps=25.0, spacing=(0.5, 0.25))
    assert clip.video.shape == (12, 1, 24, 16)
    assert clip.labelled.nonzero()[:, 0].tolist() == [0, 3, 6, 9]
    assert clip.labels[0].unique().tolist() == [0, 1, 2, 3]
    assert clip.labels[1].sum() == 0
    assert (clip.fps, clip.spacing, clip.ed, clip.es) == (25.0, (0.5, 0.25), None, None)


def test_frames_run_in_the_order_of_their_numbers(make_folder):
    areas = (_load(make_folder()).labels == 1).sum((1, 2))[[0, 3, 6, 9]]
    assert areas.diff().le(0).all()
    assert areas[0] > areas[-1]


def test_colour_stays_colour(make_folder):
    clip = _load(make_folder(colour=True))
    assert clip.video.shape == (12, 3, 24, 16)
    assert (clip.video[:, 0] >= clip.video[:, 1]).all()
    assert not torch.equal(clip.video[:, 0], clip.video[:, 2])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_images_of_every_mode_are_read_as_prediction_reads_them(make_folder, mode):
    root = make_folder()
    for path in (root / "images" / "clip1").iterdir():
        with Image.open(path) as image:
            changed = image.convert(mode)
        changed.save(path)
    video = _load(root).video
    stream = open_stream(root / "images" / "clip1", colour=True)
    assert video.shape == (12, 3 if mode in ("P", "RGB", "RGBA") else 1, 24, 16)
    torch.testing.assert_close(video, torch.stack(list(stream)))


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_other_kinds_of_image_are_frames_too(make_folder, suffix):
    root = make_folder()
    before = _load(root).video
    for path in list((root / "images" / "clip1").iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(suffix))
        path.unlink()
    torch.testing.assert_close(_load(root).video, before)


def _deep(root, kind, low, high):
    """Write clip1's frames anew with values of `low` to `high` in a type of more than 8 bits; give their folder."""
    folder = root / "images" / "clip1"
    for t, path in enumerate(sorted(folder.iterdir())):
        frame = np.linspace(low, high, 24 * 16).reshape(24, 16) * (12 - t) / 12
        Image.fromarray(frame.astype(kind)).save(path.with_suffix(".tif"))
        path.unlink()
    return folder


@pytest.mark.parametrize(
    ("kind", "low", "high", "brightest"),
    [
        (np.uint16, 0, 4095, 1),  # 12 bits in 16
        (np.uint16, 0, 65535, 1),
        (np.uint16, 0, 200, 200 / 255),  # 8 bits in 16
        (np.int32, -30, 20, 1),
        (np.float32, 0, 1, 1),
        (np.float32, 0, 100, 100 / 255),
    ],
)
def test_deep_images_are_read_as_prediction_reads_them(make_folder, kind, low, high, brightest):
    root = make_folder()
    folder = _deep(root, kind, low, high)
    video = _load(root).video
    assert torch.equal(video, torch.stack(list(open_stream(folder, colour=True))))
    assert video.max().item() == pytest.approx(brightest)


def test_the_frames_of_a_clip_share_one_scale(make_folder):
    """A dark frame of a deep clip stays darker than a bright one."""
    root = make_folder()
    _deep(root, np.uint16, 0, 4095)
    brightest = _load(root).video.amax((1, 2, 3))
    assert brightest[0] == 1
    assert brightest.max() / brightest.min() == pytest.approx(12, rel=0.01)


def test_nan_pixels_name_their_file(make_folder):
    root = make_folder()
    folder = _deep(root, np.float32, 0, 1)
    frame = np.zeros((24, 16), np.float32)
    frame[3, 5] = np.nan
    Image.fromarray(frame).save(folder / "7.tif")
    with pytest.raises(DataError, match=r"clip1.7.tif: 1 of 384 pixels are NaN or infinite, the first at \(3, 5\)"):
        _load(root)


def test_clips_without_partner_are_left_out_and_reported(make_folder):
    root = make_folder()
    (root / "images" / "clip2").rename(root / "images" / "other")
    survey = Folder().survey(root)
    assert [case.id for case in survey.cases] == ["clip1", "clip3"]
    assert {item.what: item.why for item in survey.skipped} == {
        "other": "has images, but no masks",
        "clip2": "has masks, but no images",
    }


def test_split_files_decide(make_folder):
    root = make_folder(4)
    (root / "splits").mkdir()
    for split, names in (("train", "clip1\nclip4\n"), ("val", "clip2\n\n"), ("test", "clip9\n")):
        (root / "splits" / f"{split}.txt").write_text(names)
    layout = Folder()
    assert [case.id for case in layout.cases(root, "train")] == ["clip1", "clip4"]
    assert {item.what for item in layout.survey(root).skipped} == {"clip3", "clip9"}


def test_a_mask_of_255_names_found_and_allowed_and_the_way_out(make_folder):
    root = make_folder()
    path = root / "masks" / "clip1" / "1.png"
    Image.fromarray(np.where(np.arange(24 * 16).reshape(24, 16) < 99, 255, 0).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match=r"1.png: label values 0, 255 found, 0..20 allowed; .*mask_values: binary"):
        _load(root)
    assert _load(root, mask_values="binary").labels[0].sum() == 99


def test_a_colour_mask_is_refused(make_folder):
    root = make_folder()
    Image.new("RGB", (16, 24)).save(root / "masks" / "clip1" / "1.png")
    with pytest.raises(DataError, match=r"1.png: a mask in colour \(mode RGB\); save it as a grey or palette PNG"):
        _load(root)


def test_a_mask_of_another_size_names_both(make_folder):
    root = make_folder()
    Image.new("L", (8, 9)).save(root / "masks" / "clip1" / "4.png")
    with pytest.raises(DataError, match=r"4.png: the mask is 9 × 8 .* its image 4.png is 24 × 16"):
        _load(root)


def test_a_frame_of_another_size_is_refused(make_folder):
    root = make_folder()
    Image.new("L", (8, 9)).save(root / "images" / "clip1" / "5.png")
    with pytest.raises(DataError, match=r"images.clip1.5.png: this frame is 8 × 9 .* the first, 1.png, is 16 × 24"):
        _load(root)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_truncated_file_is_refused(make_folder, kind):
    root = make_folder()
    path = root / kind / "clip1" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{kind}.clip1.1.png: cannot be read as an image"):
        _load(root)


def test_a_mask_without_image_is_refused(make_folder):
    root = make_folder()
    (root / "images" / "clip1" / "7.png").unlink()
    with pytest.raises(DataError, match=r"masks.clip1.7.png: has no image 7"):
        _load(root)


def test_two_images_of_one_name_are_refused(make_folder):
    root = make_folder()
    Image.new("L", (16, 24)).save(root / "images" / "clip1" / "1.jpg")
    with pytest.raises(DataError, match=r"is a frame of the same name"):
        _load(root)


@pytest.mark.parametrize("made", [(), ("images",)])
def test_a_wrong_root_says_what_is_wanted(tmp_path, made):
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"(?s)masks folder in it.*masks/CLIP/\*.png.*data.layout=folder.*phantom"):
        Folder().cases(tmp_path)


def test_an_empty_data_set_is_refused(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name / "clip1").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"is empty; usable cases: train 0, val 0, test 0; 1 left out, the first \(clip1"
    ):
        Folder().cases(tmp_path)
