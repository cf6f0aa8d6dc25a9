"""Prediction: any clip in, masks of its own kind and figures with their method out, frame by frame."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from memx import Recipe, build
from memx.data.streams import open_stream
from memx.engine.predict import output_folders, predict_clip, written_labels
from memx.models.base import VideoModel


@pytest.fixture(scope="module")
def recipe(tiny_words: list[str]) -> Recipe:
    return Recipe.load("gdkvm_phantom", [*tiny_words, "model.key_dim=32", "model.refiner=null"])


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> VideoModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build(recipe).eval()


def disc(t: int) -> np.ndarray:
    """A dark disc that shrinks and grows, in grey noise."""
    y, x = np.mgrid[:48, :64]
    radius = 12 + 5 * np.cos(t / 2)
    noise = np.random.default_rng(t).integers(90, 160, (48, 64))
    return np.where(np.hypot(y - 24, x - 32) < radius, 20, noise).astype(np.uint8)


def make(kind: str, folder: Path) -> Path:
    frames = [disc(t) for t in range(8)]
    if kind == "nifti":
        path = folder / "clip.nii.gz"
        image = nib.Nifti1Image(np.stack(frames, axis=-1).transpose(1, 0, 2), np.eye(4))
        image.header.set_zooms((0.5, 0.7, 1.0))
        nib.save(image, path)
    elif kind == "avi":
        path = folder / "clip.avi"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mjpeg", rate=20)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.stack([frame] * 3, -1), format="rgb24")))
            container.mux(stream.encode())
    else:
        path = folder / "clip"
        path.mkdir()
        for t, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"{t:03d}.png")
    return path


@pytest.mark.parametrize(
    ("kind", "suffix", "unit"), [("nifti", ".nii.gz", "mm²"), ("avi", ".avi", "px"), ("images", "", "px")]
)
def test_every_kind_gets_masks_curve_overlay_and_summary(
    kind: str, suffix: str, unit: str, recipe: Recipe, model: VideoModel, tmp_path: Path
) -> None:
    stream = open_stream(make(kind, tmp_path))
    found = predict_clip(model, recipe, stream, tmp_path / "out", crop="none")
    assert found.masks.name == "masks" + suffix
    assert found.frames == 8
    assert found.area_unit == unit
    masks = list(open_stream(found.masks)) if kind != "images" else sorted(found.masks.iterdir())
    assert len(masks) == 8
    rows = list(csv.DictReader((tmp_path / "out" / "curve.csv").open()))
    assert len(rows) == 8
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"] == 8
    assert summary["masks"] == found.masks.name
    if found.ef is not None:
        assert summary["ef"]["method"] in ("area-length", "Simpson single-plane")
        assert summary["ef"]["unit"] == ("ml" if unit == "mm²" else "px³")
    with av.open(str(found.overlay)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        found.masks.name,
        "overlay.mp4",
        "curve.csv",
        "curve.png",
        "summary.json",
    }


def test_areas_are_those_of_the_written_masks(recipe: Recipe, model: VideoModel, tmp_path: Path) -> None:
    found = predict_clip(model, recipe, open_stream(make("nifti", tmp_path)), tmp_path / "out", crop="none")
    written = np.asarray(nib.load(found.masks).dataobj)  # type: ignore[attr-defined]
    assert written.shape == (64, 48, 8)
    assert found.areas["lv"] == pytest.approx([(written[..., t] == 1).sum() * 0.35 for t in range(8)])


def test_streaming_gives_what_the_whole_clip_gives(recipe: Recipe, model: VideoModel, tmp_path: Path) -> None:
    stream = open_stream(make("images", tmp_path))
    found = predict_clip(model, recipe, stream, tmp_path / "out", crop="none")
    video = torch.nn.functional.interpolate(torch.stack(list(stream)), size=(32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = model(video[None].clamp(0, 1)).logits[0]
    from memx.engine.segment import label_map

    whole = label_map(logits, (48, 64)).numpy()
    written = np.stack([np.asarray(Image.open(p)) for p in sorted(found.masks.iterdir())])
    assert (whole != written).mean() < 1e-3  # rounding may turn a pixel on the border


def test_the_real_clip(recipe: Recipe, model: VideoModel, tmp_path: Path) -> None:
    """Thirty frames of an apical view from a real machine, which ships with pydicom."""
    from pydicom.examples import get_path

    found = predict_clip(model, recipe, open_stream(Path(get_path("ybr_color"))), tmp_path / "out")
    assert found.frames == 30
    assert found.fps == pytest.approx(30, rel=1e-3)
    assert found.spacing is None  # it was shrunk after its calibration was written
    assert found.spacing_note
    assert found.crop != (0, 240, 0, 320)
    masks = pydicom.dcmread(found.masks)
    assert masks.NumberOfFrames == 30
    assert masks.pixel_array.shape == (30, 240, 320)
    if found.ef is not None:
        assert found.ef.method == "area-length"
        assert "square" in found.ef.note


def test_clips_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make("images", tmp_path / name)
    streams = [open_stream(tmp_path / name / "clip") for name in ("a", "b")]
    assert [f.name for f in output_folders(streams, tmp_path / "out")] == ["clip", "clip_2"]


def test_a_failure_leaves_no_half_file(
    recipe: Recipe, model: VideoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream(make("nifti", tmp_path))
    calls = []
    step = model.step

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("boom")
        return step(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "step", failing)
    with pytest.raises(RuntimeError, match="boom"):
        predict_clip(model, recipe, stream, tmp_path / "out", crop="none")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_structures_keep_their_label_unless_two_would_share_one() -> None:
    assert written_labels({"lv": [1], "la": [3]}) == {"lv": 1, "la": 3}
    assert written_labels({"lv": [1], "epi": [1, 2]}) == {"lv": 1, "epi": 2}
    assert written_labels({"lv": [0], "epi": [300]}) == {"lv": 1, "epi": 2}
