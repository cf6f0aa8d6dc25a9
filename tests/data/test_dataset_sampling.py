"""Laws of frame sampling, resizing and splitting by patient."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.data import Clip, frame_indices, resize_clip, sample_frames, split_by_patient
from memx.data.split import split_names
from memx.errors import DataError


def _clip(frames: int, labelled: list[int] | None = None, **facts) -> Clip:
    flags = torch.zeros(frames, dtype=torch.bool)
    flags[range(frames) if labelled is None else labelled] = True
    video = torch.linspace(0, 1, frames)[:, None, None, None].expand(-1, 1, 6, 4)
    return Clip(video=video, labels=torch.arange(frames)[:, None, None].expand(-1, 6, 4), labelled=flags, **facts)


@settings(deadline=None, max_examples=100)
@given(st.data(), st.integers(1, 60), st.integers(1, 30))
def test_ed_es_runs_evenly_from_ed_to_es(data, length, frames):
    ed, es = data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, length - 1))
    indices = frame_indices(_clip(length, ed=ed, es=es), frames, "ed_es")
    assert len(indices) == frames
    assert indices[0] == ed
    if frames > 1:
        assert indices[-1] == es
        for i, index in enumerate(indices):
            assert abs(index - (ed + Fraction(i * (es - ed), frames - 1))) <= Fraction(1, 2)
    forward = 1 if es >= ed else -1
    assert all((after - before) * forward >= 0 for before, after in pairwise(indices))
    if frames > abs(es - ed):
        assert set(indices) == set(range(min(ed, es), max(ed, es) + 1)) or frames == 1


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_window_is_contiguous_and_holds_a_labelled_frame(data, length, frames, seed):
    labelled = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=3, unique=True))
    indices = frame_indices(_clip(length, labelled), frames, "window", np.random.default_rng(seed))
    start = indices[0]
    assert indices == [min(start + i, length - 1) for i in range(frames)]
    assert start == 0 or start + frames <= length
    assert set(indices) & set(labelled)


def test_every_window_can_be_drawn():
    rng = np.random.default_rng(0)
    starts = {frame_indices(_clip(8, [3]), 2, "window", rng)[0] for _ in range(200)}
    assert starts == {2, 3}


def test_all_takes_every_frame_whatever_was_asked():
    clip = sample_frames(_clip(5, ed=1, es=3, fps=40.0), 2, "all")
    assert clip.extra["frames"] == [0, 1, 2, 3, 4]
    assert (clip.ed, clip.es, clip.fps) == (1, 3, 40.0)


def test_what_is_known_moves_along_with_the_frames():
    clip = sample_frames(_clip(12, [1, 9], ed=9, es=1, fps=40.0), 5, "ed_es")
    assert clip.extra["frames"] == [9, 7, 5, 3, 1]
    assert clip.labels[:, 0, 0].tolist() == [9, 7, 5, 3, 1]
    assert clip.labelled.tolist() == [True, False, False, False, True]
    assert (clip.ed, clip.es, clip.fps) == (0, 4, 20.0)


def test_repeated_frames_keep_ed_first_and_es_last_and_have_no_rate():
    clip = sample_frames(_clip(3, ed=0, es=2, fps=40.0), 7, "ed_es")
    assert (clip.ed, clip.es, clip.fps) == (0, 6, None)


def test_frames_of_frames_name_the_first_clip():
    clip = sample_frames(sample_frames(_clip(9, ed=8, es=0), 5, "ed_es"), 3, "ed_es")
    assert clip.extra["frames"] == [8, 4, 0]


def test_phases_outside_a_window_are_unknown():
    clip = sample_frames(_clip(6, [5], ed=0, es=5), 2, "window", np.random.default_rng(0))
    assert (clip.ed, clip.es) == (None, 1)


def test_ed_es_without_phases_says_what_to_use():
    with pytest.raises(DataError, match=r"p7 4CH: ED and ES are unknown, .* use `all` or `window`"):
        frame_indices(_clip(4, patient="p7", view="4CH"), 2, "ed_es")


@pytest.mark.parametrize(
    ("frames", "mode", "match"),
    [(0, "all", "frames must be at least 1"), (2, "every", "mode must be one of"), (2, "window", "rng must be given")],
)
def test_senseless_sampling_is_refused(frames, mode, match):
    with pytest.raises(ValueError, match=match):
        frame_indices(_clip(4), frames, mode)


sizes = st.integers(2, 40)


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, sizes, sizes, st.floats(0.05, 2), st.floats(0.05, 2))
def test_resizing_keeps_the_physical_size_the_range_and_the_label_values(y, x, new_y, new_x, dy, dx):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2, y, x), generator=generator)
    clip = Clip(video=torch.rand(2, 1, y, x, generator=generator), labels=labels, spacing=(dy, dx))
    resized = resize_clip(clip, (new_y, new_x))
    assert resized.size == (new_y, new_x)
    assert resized.labels.shape == (2, new_y, new_x)
    assert (resized.spacing[0] * new_y, resized.spacing[1] * new_x) == pytest.approx((dy * y, dx * x))
    assert clip.video.min() - 1e-6 <= resized.video.min()
    assert resized.video.max() <= clip.video.max() + 1e-6
    assert set(resized.labels.unique().tolist()) <= set(labels.unique().tolist())


@settings(deadline=None, max_examples=30)
@given(sizes, sizes, st.integers(1, 40), st.floats(0, 1))
def test_a_flat_clip_stays_flat(y, x, size, grey):
    clip = Clip(video=torch.full((1, 1, y, x), grey), labels=torch.full((1, y, x), 2))
    resized = resize_clip(clip, size)
    torch.testing.assert_close(resized.video, torch.full((1, 1, size, size), grey))
    assert (resized.labels == 2).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 5]))
def test_shrinking_by_an_odd_factor_takes_the_middle_label_and_growing_repeats_it(y, x, factor):
    labels = torch.arange(y * x).reshape(1, y, x)
    clip = Clip(video=torch.zeros(1, 1, y, x), labels=labels)
    large = resize_clip(clip, (y * factor, x * factor))
    assert torch.equal(large.labels, labels.repeat_interleave(factor, 1).repeat_interleave(factor, 2))
    assert torch.equal(resize_clip(large, (y, x)).labels, labels)


def test_the_centre_of_a_blob_stays_where_it_is_in_millimetres():
    y, x = np.mgrid[:80, :60]
    blob = torch.from_numpy(np.exp(-((y - 30) ** 2 + (x - 40) ** 2) / 50)).float()[None, None]
    clip = Clip(video=blob, labels=(blob[:, 0] > 0.5).long(), spacing=(0.3, 0.2))

    def centre(c: Clip, weights: torch.Tensor) -> list[float]:
        ys, xs = ((torch.arange(n) + 0.5) * mm for n, mm in zip(c.size, c.spacing, strict=True))
        return [float((weights.sum(k) * axis).sum() / weights.sum()) for k, axis in ((1, ys), (0, xs))]

    resized = resize_clip(clip, 48)
    assert centre(resized, resized.video[0, 0]) == pytest.approx(centre(clip, clip.video[0, 0]), abs=0.02)
    assert centre(resized, resized.labels[0].float()) == pytest.approx(centre(clip, clip.labels[0].float()), abs=0.1)


def test_a_clip_of_the_right_size_is_left_alone():
    clip = _clip(2)
    assert resize_clip(clip, (6, 4)) is clip
    with pytest.raises(ValueError, match="at least 1 pixel"):
        resize_clip(clip, 0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.characters(codec="ascii"), min_size=1, max_size=6), min_size=1, max_size=60, unique=True))
def test_the_split_depends_on_the_names_alone(patients):
    split = split_by_patient(patients)
    assert split == split_by_patient(reversed(patients))
    n = len(patients)
    counts = {name: list(split.values()).count(name) for name in ("train", "val", "test")}
    if n < 3:
        assert counts == {"train": 1, "val": 0, "test": n - 1}
    else:
        assert min(counts.values()) >= 1
        assert all(abs(counts[name] - share * n) < 2 for name, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)))
        assert split == split_names(patients), "what `memx data split` writes unless it is told otherwise"


def test_the_split_is_the_same_on_every_machine():
    assert split_by_patient(f"patient{i:04d}" for i in range(1, 6)) == split_by_patient(
        ["patient0005", "patient0001", "patient0002", "patient0003", "patient0004"]
    )
    ten = split_by_patient(f"patient{i:04d}" for i in range(1, 11))
    assert {name: part for name, part in ten.items() if part != "train"} == {
        "patient0008": "val",
        "patient0002": "test",
    }
