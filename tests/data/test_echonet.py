"""The EchoNet-Dynamic reader, on files with the real data set's traps planted."""

import re

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from scipy.ndimage import gaussian_filter

from memx.data.echonet import EchoNet
from memx.data.polygon import fill_polygon, polygon_area
from memx.data.streams import open_stream
from memx.errors import DataError


def _load(root, name="A"):
    layout = EchoNet()
    return layout.load(next(case for case in layout.cases(root) if case.id == name))


def speckle(frames, size):
    """(t, y, x) uint8 of smooth noise, anew in each frame."""
    rng = np.random.default_rng(0)
    noise = [gaussian_filter(rng.standard_normal((size, size)), 3) * 400 + 100 for _ in range(frames)]
    return np.clip(np.stack(noise), 0, 255).astype(np.uint8)


def write_video(path, frames, codec, pixels):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=50)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def _edit(root, file, old, new, count=1):
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, count))


def test_reads_what_was_written(make_echonet):
    clip = _load(make_echonet())
    assert clip.video.shape == (9, 1, 32, 32)
    assert clip.video.min() >= 0
    assert clip.video.max() <= 1
    assert (clip.ed, clip.es, clip.ef, clip.fps, clip.spacing) == (2, 6, 60.5, 51.0, None)
    assert clip.labelled.nonzero()[:, 0].tolist() == [2, 6]
    assert clip.labels[[0, 1, 3, 4, 5, 7, 8]].sum() == 0


def test_the_outline_is_left_down_and_right_up(make_echonet):
    expected = torch.zeros(32, 32, dtype=torch.uint8)
    expected[4:25, 6:19] = 1
    torch.testing.assert_close(_load(make_echonet()).labels[2], expected)


def test_ed_is_the_larger_area_even_when_it_comes_after_es(make_echonet):
    clip = _load(make_echonet(), "B")
    assert (clip.ed, clip.es) == (6, 2)
    assert clip.labels[clip.ed].sum() > clip.labels[clip.es].sum()


def test_splits_are_those_of_the_list(make_echonet):
    layout, root = EchoNet(), make_echonet()
    assert {split: [case.id for case in layout.cases(root, split)] for split in ("train", "val", "test")} == {
        "train": ["A"],
        "val": ["B"],
        "test": ["C"],
    }


def test_names_may_carry_avi_in_either_file(make_echonet):
    root = make_echonet()
    _edit(root, "FileList.csv", "A,", "A.avi,")
    _edit(root, "VolumeTracings.csv", "B.avi", "B", count=-1)
    assert [case.id for case in EchoNet().cases(root)] == ["A", "B", "C"]


def test_what_does_not_pair_is_left_out_and_reported(make_echonet, caplog):
    root = make_echonet(bare=("B",), ghost=("G",))
    (root / "Videos" / "C.avi").unlink()
    layout = EchoNet()
    assert [case.id for case in layout.cases(root)] == ["A"]
    assert {item.what: item.why for item in layout.survey(root).skipped} == {
        "B": "no tracing",
        "C": "traced, but there is no such video",
        "G": "traced, but not in FileList.csv",
    }
    assert "left out 3" in caplog.text
    assert "B: no tracing" in caplog.text
    with pytest.raises(DataError, match="no cases in split 'val'"):
        layout.cases(root, "val")


def test_one_traced_frame_is_not_enough(make_echonet):
    root = make_echonet()
    rows = (root / "VolumeTracings.csv").read_text().splitlines()
    kept = [row for row in rows if not (row.startswith("A.avi") and row.endswith(",6"))]
    (root / "VolumeTracings.csv").write_text("\n".join(kept))
    assert {item.what: item.why for item in EchoNet().survey(root).skipped} == {
        "A": "only one frame is traced; ED and ES are wanted"
    }


@pytest.mark.parametrize("present", [(), ("FileList.csv",), ("FileList.csv", "VolumeTracings.csv")])
def test_a_wrong_root_gets_three_lines(tmp_path, present):
    for name in present:
        (tmp_path / name).touch()
    with pytest.raises(DataError) as error:
        EchoNet().cases(tmp_path)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "https://echonet.github.io/dynamic/" in lines[0]
    assert "data.root=/path/to/EchoNet-Dynamic" in lines[1]
    assert "memx data phantom" in lines[2]


@pytest.mark.parametrize("keep", [0, 100, 1500])
def test_a_truncated_video_is_refused(make_echonet, keep):
    root = make_echonet()
    video = root / "Videos" / "A.avi"
    video.write_bytes(video.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"A.avi: .*(not a readable video|truncated: its header promises)"):
        _load(root)


@pytest.mark.parametrize(("codec", "pixels"), [("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p"), ("ffv1", "bgr0")])
def test_videos_are_read_as_prediction_reads_them(make_echonet, codec, pixels):
    root = make_echonet()
    video = root / "Videos" / "A.avi"
    write_video(video, speckle(9, 32), codec, pixels)
    assert torch.equal(_load(root).video, torch.stack(list(open_stream(video))))


@pytest.mark.parametrize(("codec", "pixels", "silent"), [("mjpeg", "yuvj420p", 8), ("mpeg4", "yuv420p", 0)])
def test_damaged_frames_are_refused(make_echonet, codec, pixels, silent):
    """60 bytes of the pixels are changed in each of 40 places; Motion JPEG has no checksum, so some decode as well."""
    root = make_echonet(frames=20, size=112)
    video = root / "Videos" / "A.avi"
    write_video(video, speckle(20, 112), codec, pixels)
    whole, content = _load(root).video, video.read_bytes()
    wrong, refused = 0, 0
    for place in np.linspace(0.2, 0.8, 40):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[int(place * len(content)) :][:60] ^= 0x55
        video.write_bytes(damaged.tobytes())
        try:
            wrong += not torch.equal(_load(root).video, whole)
        except DataError as error:
            refused += re.search(r"A.avi: (frame \d+|the header)", str(error)) is not None
    assert wrong <= silent
    assert refused >= 25


def test_a_video_shorter_than_listed_is_refused(make_echonet):
    root = make_echonet()
    _edit(root, "FileList.csv", "51,9,TRAIN", "51,40,TRAIN")
    with pytest.raises(DataError, match=r"A.avi: 9 frames could be read, FileList.csv says 40"):
        _load(root)


@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("FileList.csv", "100,32,32,51,9,TRAIN", "100,32,64,51,9,TRAIN", r"frames are 32 × 32 .* for 32 × 64"),
        ("FileList.csv", "TRAIN", "TRAINING", r"FileList.csv, line 2: Split: 'TRAINING'; want TRAIN, VAL or TEST"),
        ("FileList.csv", "60.5", "n/a", r"FileList.csv, line 2: EF: 'n/a' is not a number"),
        ("FileList.csv", "60.5", "605", r"line 2: EF 605"),
        ("FileList.csv", "B,", "A,", r"line 3: A is listed twice"),
        ("FileList.csv", "A,", "../A,", r"FileName: '../A' is not the name of a file"),
        ("FileList.csv", "Split", "Part", r"has no column Split; its first line names FileName"),
        ("VolumeTracings.csv", "A.avi,6,4,", "A.avi,six,4,", r"VolumeTracings.csv, line 3: X1: 'six' is not a number"),
        (
            "VolumeTracings.csv",
            "A.avi,6,4,",
            "A.avi,600,4,",
            r"VolumeTracings.csv: the tracing of A, frame 2, runs over x 6..600",
        ),
        ("VolumeTracings.csv", "6,4,18,4,2", "6,4", r"VolumeTracings.csv, line 3: is cut short"),
    ],
)
def test_wrong_tables_are_refused_by_file_and_line(make_echonet, file, old, new, match):
    root = make_echonet()
    _edit(root, file, old, new)
    with pytest.raises(DataError, match=match):
        _load(root)


def test_a_tracing_beyond_the_last_frame_is_refused(make_echonet):
    root = make_echonet()
    text = (root / "VolumeTracings.csv").read_text()
    (root / "VolumeTracings.csv").write_text(text.replace(",6\n", ",9\n"))
    with pytest.raises(DataError, match=r"A is traced in frame 9, the video has 0..8; give the right frame"):
        _load(root)


def test_the_video_folder_stays_inside_the_root(make_echonet):
    with pytest.raises(DataError, match="leads out of the data set"):
        EchoNet(videos="../elsewhere").cases(make_echonet())


def test_fill_polygon_draws_the_known_triangle():
    """The worked example in the documentation of scikit-image's `draw.polygon`: edges count as inside."""
    mask = fill_polygon(np.array([1, 7, 4]), np.array([1, 2, 8]), (10, 10), edges=True)
    rows = [np.flatnonzero(row).tolist() for row in mask]
    assert rows == [[], [1], [2, 3, 4, 5, 6, 7], [2, 3, 4, 5, 6], [3, 4, 5, 6], [3, 4, 5], [4, 5], [4], [4], []]


vertices = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 15)), min_size=3, max_size=9, unique=True)


@settings(deadline=None, max_examples=60)
@given(vertices)
def test_fill_polygon_agrees_with_matplotlib_away_from_the_edge(points):
    centre = np.mean(points, axis=0)
    star = np.array(sorted(points, key=lambda p: np.arctan2(p[1] - centre[1], p[0] - centre[0])), dtype=float)
    mask = fill_polygon(star[:, 0], star[:, 1], (16, 20), edges=True)
    y, x = np.mgrid[:16, :20]
    outline = Outline(np.vstack([star, star[:1]]), closed=True)
    grid = np.stack([x.ravel(), y.ravel()], 1).astype(float)
    ends = np.roll(star, -1, axis=0)
    along = ends - star
    share = ((grid[:, None] - star) * along).sum(-1) / (along**2).sum(-1)
    nearest = star + np.clip(share, 0, 1)[..., None] * along
    away = (np.linalg.norm(grid[:, None] - nearest, axis=-1).min(1) > 1e-9).reshape(16, 20)
    inner = outline.contains_points(grid).reshape(16, 20)
    np.testing.assert_array_equal(mask[away], inner[away])
    assert mask[~away].all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_a_rectangle_has_the_area_and_the_pixels_it_must(left, top, width, height):
    x, y = np.array([left, left + width, left + width, left]), np.array([top, top, top + height, top + height])
    assert polygon_area(x, y) == width * height
    assert fill_polygon(x, y, (41, 41), edges=True).sum() == (width + 1) * (height + 1)
