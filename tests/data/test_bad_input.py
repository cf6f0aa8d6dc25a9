"""Clips at the edges of what there is: one frame, 2,000 frames, odd sizes, unknown labels, NaN, 16 bits, colour."""

from fractions import Fraction
from pathlib import Path

import av
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image

from memx.data import ClipDataset
from memx.data.camus import Camus
from memx.data.echonet import EchoNet
from memx.data.folder import Folder
from memx.data.streams import open_stream
from memx.errors import DataError


def _folder(root: Path, frames: np.ndarray, masks: np.ndarray) -> Path:
    for t, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        for kind, picture in (("images", frame), ("masks", mask)):
            path = root / kind / "clip" / f"{t}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return root


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _video(path: Path, frames: np.ndarray, codec: str, pixels: str) -> Path:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=Fraction(50))
        track.height, track.width, track.pix_fmt = *frames.shape[1:], pixels
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(track.encode())
    return path


def test_a_clip_of_one_frame_trains_as_a_still(tmp_path):
    layout = Folder()
    cases = layout.cases(_folder(tmp_path, _noise(1, 20, 30), np.ones((1, 20, 30), np.uint8)))
    for sampling, frames in (("window", 4), ("all", 1)):
        item = ClipDataset(layout, cases, size=16, frames=4, sampling=sampling, structures={"cell": [1]}, draws=1)[0]
        assert item["video"].shape == (frames, 1, 16, 16)
        assert item["masks"].sum() == item["masks"].numel()
    with pytest.raises(DataError, match="ED and ES are unknown, and sampling `ed_es` needs them"):
        ClipDataset(layout, cases, size=16, structures={"cell": [1]})[0]


def test_a_half_sequence_of_one_frame_is_refused(make_camus):
    layout = Camus()
    with pytest.raises(DataError, match=r"Info_2CH.cfg: ED and ES are both frame 1; they must differ"):
        layout.load(layout.cases(make_camus(frames=1))[0])


def test_two_thousand_frames_train_and_stream(make_echonet):
    root = make_echonet(frames=2000)
    layout = EchoNet()
    cases = layout.cases(root)
    item = ClipDataset(layout, cases, size=16, structures={"lv": [1]})[0]
    assert item["video"].shape == (10, 1, 16, 16)
    assert item["supervised"].nonzero()[:, 0].tolist() == [0, 9]
    item = ClipDataset(layout, cases, size=16, sampling="window", structures={"lv": [1]}, draws=1)[0]
    assert item["labelled"].any()
    stream = open_stream(cases[0].files["video"])
    assert stream.length == sum(1 for _ in stream) == 2000


@pytest.mark.parametrize("size", [(33, 17), (17, 33), (19, 19)])
def test_odd_sizes_are_read_and_resized(make_camus, make_folder, size):
    for layout, root in ((Camus(), make_camus(size=size)), (Folder(), make_folder(size=size))):
        cases = layout.cases(root)
        clip = layout.load(cases[0])
        assert clip.size[1] == size[1]
        item = ClipDataset(layout, cases, size=16, sampling="all", structures={"lv": [1]})[0]
        assert item["masks"].shape == (len(clip), 1, 16, 16)
        assert item["masks"].sum() > 0


@pytest.mark.parametrize("size", [(33, 17), (1, 1), (2, 129)])
@pytest.mark.parametrize(("name", "codec", "pixels"), [("a.avi", "ffv1", "gray"), ("a.avi", "mjpeg", "yuvj420p")])
def test_odd_videos_keep_their_size(tmp_path, size, name, codec, pixels):
    stream = open_stream(_video(tmp_path / name, _noise(3, *size), codec, pixels))
    assert [tuple(frame.shape) for frame in stream] == [(1, *size)] * 3


def test_labels_that_the_recipe_does_not_name_are_background(tmp_path):
    mask = np.zeros((1, 20, 30), np.uint8)
    mask[0, :10] = 1
    mask[0, 10:] = 7
    layout = Folder()
    cases = layout.cases(_folder(tmp_path, _noise(1, 20, 30), mask))
    item = ClipDataset(layout, cases, size=(20, 30), sampling="all", structures={"cell": [1]})[0]
    assert torch.equal(item["masks"][0, 0], torch.from_numpy(mask[0] == 1).float())
    assert ClipDataset(layout, cases, size=16, sampling="all", structures={"cell": [1]}).prepare(0) == {1, 7}


def test_labels_that_the_layout_does_not_know_are_refused(make_camus, tmp_path):
    root = make_camus()
    path = root / "database_nifti" / "patient0001" / "patient0001_2CH_half_sequence_gt.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 2, image.affine), path)
    with pytest.raises(DataError, match=r"_gt.nii.gz: label values 0, 2, 4, 6 found, 0..3 allowed"):
        Camus().load(Camus().cases(root)[0])
    with pytest.raises(DataError, match=r"0.png: label values 200 found, 0..20 allowed"):
        Folder().load(Folder().cases(_folder(tmp_path / "f", _noise(1, 8, 8), np.full((1, 8, 8), 200, np.uint8)))[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["clip.nii.gz", "clip.mha"])
def test_nan_pixels_are_refused_by_frame(tmp_path, name, bad):
    frames = np.zeros((4, 8, 6), np.float32)
    frames[2, 3, 1] = bad
    if name.endswith("gz"):
        nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.eye(4)), tmp_path / name)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(frames), str(tmp_path / name))
    with pytest.raises(DataError, match=rf"{name}: frame 2 has 1 NaN or infinite pixels"):
        list(open_stream(tmp_path / name))


@pytest.mark.parametrize("name", ["clip.nii", "clip.mhd"])
def test_sixteen_bits_fill_the_range_and_layouts_refuse_them(tmp_path, make_camus, name):
    frames = np.linspace(0, 4000, 4 * 8 * 6).reshape(4, 8, 6).astype(np.uint16)
    if name.endswith("nii"):
        nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.eye(4)), tmp_path / name)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(frames), str(tmp_path / name))
    video = torch.cat(list(open_stream(tmp_path / name)))
    torch.testing.assert_close(video, torch.from_numpy(frames / 4000).float(), atol=1e-6, rtol=0)
    root = make_camus(frames=4)
    path = root / "database_nifti" / "patient0001" / "patient0001_2CH_half_sequence.nii.gz"
    shape = nibabel.load(path).shape
    nibabel.save(nibabel.Nifti1Image(np.full(shape, 4000, np.uint16), np.eye(4)), path)
    with pytest.raises(DataError, match=r"half_sequence.nii.gz: pixel values run from 4000 to 4000; want 0..255"):
        Camus().load(Camus().cases(root)[0])


def test_a_colour_nifti_is_refused_by_the_layout_and_made_grey_by_the_stream(tmp_path, make_camus):
    root = make_camus(frames=4)
    path = root / "database_nifti" / "patient0001" / "patient0001_2CH_half_sequence.nii.gz"
    colour = np.zeros(nibabel.load(path).shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    colour["R"] = 255
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), path)
    with pytest.raises(DataError, match=r"half_sequence.nii.gz: pixels of type .*want grey values"):
        Camus().load(Camus().cases(root)[0])
    assert float(next(iter(open_stream(path))).mean()) == pytest.approx(0.299, abs=1e-4)


def test_a_colour_video_is_luma_in_training_and_in_prediction(make_echonet):
    root = make_echonet()
    path = root / "Videos" / "A.avi"
    frames = np.zeros((9, 32, 32, 3), np.uint8)
    frames[..., 0] = 255
    with av.open(str(path), "w") as container:
        track = container.add_stream("ffv1", rate=50)
        track.height, track.width, track.pix_fmt = 32, 32, "bgr0"
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(track.encode())
    layout = EchoNet()
    trained = layout.load(layout.cases(root)[0]).video
    predicted = torch.stack(list(open_stream(path)))
    assert trained.shape == predicted.shape == (9, 1, 32, 32)
    torch.testing.assert_close(trained, predicted, atol=0.01, rtol=0)
