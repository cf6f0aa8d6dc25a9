"""The augmentations: one draw a clip, image and labels moved alike, values in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms.spatial.array import Affine

from memx.data import transforms as module
from memx.data.transforms import Contrast, Gamma, Movement, Rotate, Scale, augment_clip
from memx.registry import transforms

NAMES = ("contrast", "gamma", "rotate", "scale")
GEOMETRIC = (Rotate(p=1, degrees=(-40, 40)), Scale(p=1, factor=(0.6, 1.8)))


def _clip(frames: int = 3, channels: int = 1, size: tuple[int, int] = (33, 27), seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    video = torch.rand(frames, channels, *size, generator=generator)
    return video, torch.randint(0, 4, (frames, *size), generator=generator)


def _coordinates(size: tuple[int, int]):
    """A two-channel picture of y and x in (0, 1], so that 0 can only mean that a pixel came from outside."""
    y, x = (torch.arange(1, n + 1) / n for n in size)
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]


@pytest.mark.parametrize("name", NAMES)
def test_is_registered_with_a_probability_of_one_half(name):
    entry = transforms[name]
    assert entry.facts == ()
    assert entry.validate({})["p"] == 0.5
    assert all(field.description for field in entry.options.model_fields.values())
    assert transforms.build(name, p=0.25).p == 0.25


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gamma", {"p": 1.5}),
        ("gamma", {"gamma": [1.5, 0.7]}),
        ("gamma", {"gamma": [0, 1]}),
        ("rotate", {"degrees": [0, 200]}),
        ("scale", {"factor": [1.0]}),
    ],
)
def test_senseless_options_are_refused(name, options):
    with pytest.raises(pydantic.ValidationError):
        transforms[name].validate(options)


def test_a_descending_interval_is_refused_in_python_too():
    with pytest.raises(ValueError, match="the lower end comes first"):
        Scale(factor=(1.2, 0.8))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_shapes_types_range_and_inputs_are_kept(name, seed, channels):
    video, labels = _clip(channels=channels)
    before = video.clone(), labels.clone()
    changed, moved = transforms.build(name, p=1.0)(video, labels, np.random.default_rng(seed))
    assert type(changed) is torch.Tensor
    assert type(moved) is torch.Tensor
    assert (changed.shape, changed.dtype, moved.shape, moved.dtype) == (
        video.shape,
        video.dtype,
        labels.shape,
        labels.dtype,
    )
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert set(moved.unique().tolist()) <= {0, 1, 2, 3}
    torch.testing.assert_close((video, labels), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_probability_of_zero_changes_nothing(name):
    video, labels = _clip()
    result = transforms.build(name, p=0.0)(video, labels, np.random.default_rng(0))
    torch.testing.assert_close(result, (video, labels), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_half_of_the_clips_are_changed(name):
    transform = transforms.build(name)
    video, labels = _clip(1, size=(9, 9))
    rng = np.random.default_rng(7)
    changed = sum(not torch.equal(transform(video, labels, rng)[0], video) for _ in range(400))
    assert 160 <= changed <= 240  # four standard deviations of a fair coin


@pytest.mark.parametrize("name", NAMES)
def test_always_takes_the_same_number_of_draws(name):
    video, labels = _clip(1, size=(9, 9))
    after = []
    for p in (0.0, 1.0):
        rng = np.random.default_rng(3)
        transforms.build(name, p=p)(video, labels, rng)
        after.append(rng.random())
    assert after[0] == after[1]


@pytest.mark.parametrize("name", NAMES)
def test_all_frames_are_changed_alike(name):
    frame, label = _clip(1)
    video, labels = frame.expand(4, -1, -1, -1), label.expand(4, -1, -1)
    changed, moved = transforms.build(name, p=1.0)(video, labels, np.random.default_rng(5))
    torch.testing.assert_close(changed, changed[:1].expand_as(changed), rtol=0, atol=1e-6)
    assert (moved == moved[:1]).all()
    assert not torch.equal(changed, video)


@pytest.mark.parametrize("transform", [Gamma(p=1, gamma=(1, 1)), Contrast(p=1, factor=(1, 1))])
def test_a_strength_of_one_is_the_identity(transform):
    video, labels = _clip()
    torch.testing.assert_close(transform(video, labels, np.random.default_rng(0)), (video, labels))


@pytest.mark.parametrize("transform", [Rotate(p=1, degrees=(0, 0)), Scale(p=1, factor=(1, 1))])
def test_no_movement_is_the_identity(transform):
    video, labels = _clip()
    moved, classes = transform(video, labels, np.random.default_rng(0))
    torch.testing.assert_close(moved, video, rtol=0, atol=1e-5)
    assert torch.equal(classes, labels)


def test_gamma_is_a_power_and_keeps_black_and_white():
    video = torch.tensor([0.0, 0.25, 1.0]).reshape(1, 1, 1, 3)
    labels = torch.zeros(1, 1, 3, dtype=torch.int64)
    changed, _ = Gamma().apply(video, labels, 2.0)
    torch.testing.assert_close(changed.flatten(), torch.tensor([0.0, 0.0625, 1.0]))


def test_contrast_keeps_the_mean_of_the_clip_and_scales_its_spread():
    video, labels = _clip()
    video = 0.4 + 0.2 * video
    changed, _ = Contrast().apply(video, labels, 1.3)
    torch.testing.assert_close(changed.mean(), video.mean())
    torch.testing.assert_close(changed.std(), 1.3 * video.std())


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(GEOMETRIC), st.integers(0, 2**32 - 1))
def test_image_and_labels_move_alike(transform, seed):
    """The picture holds each pixel's coordinates, the labels its number: after the move both name one place."""
    y, x = 24, 30
    place = _coordinates((y, x))
    numbers = torch.arange(1, y * x + 1).reshape(1, y, x)
    moved, labels = transform(place, numbers, np.random.default_rng(seed))
    inside = labels[0] > 0
    padded = torch.nn.functional.pad(inside.float()[None], (1, 1, 1, 1))
    deep = torch.nn.functional.avg_pool2d(padded, 3, 1)[0] > 0.999  # at the rim the picture fades into the background
    row, column = (labels[0] - 1) // x, (labels[0] - 1) % x
    off = torch.stack([moved[0, 0] * y - 1 - row, moved[0, 1] * x - 1 - column])[:, deep]
    assert deep.sum() > 50
    assert off.abs().max() <= 0.5 + 1e-3


def test_a_quarter_turn_is_anticlockwise_about_the_centre():
    video, labels = _clip(size=(21, 21))
    moved, classes = Rotate().apply(video, labels, 90.0)
    torch.testing.assert_close(moved, torch.rot90(video, 1, (-2, -1)), rtol=0, atol=1e-4)
    assert torch.equal(classes, torch.rot90(labels, 1, (-2, -1)))


@settings(deadline=None, max_examples=15)
@given(st.floats(-180, 180), st.floats(0.5, 2), st.integers(8, 40), st.integers(8, 40))
def test_rotation_and_scale_agree_with_monai(degrees, factor, y, x):
    video, labels = _clip(size=(y, x))
    for transform, strength, options in (
        (Rotate(), degrees, {"rotate_params": -math.radians(degrees)}),
        (Scale(), factor, {"scale_params": (1 / factor, 1 / factor)}),
    ):
        oracle = Affine(mode="bilinear", padding_mode="zeros", image_only=True, **options)
        expected = torch.as_tensor(oracle(video.flatten(0, 1))).as_subclass(torch.Tensor)
        moved, _ = transform.apply(video, labels, strength)
        torch.testing.assert_close(moved.flatten(0, 1), expected, rtol=0, atol=1e-4)


def test_scaling_up_enlarges_about_the_centre():
    labels = torch.zeros(1, 41, 41, dtype=torch.int64)
    labels[:, 16:25, 16:25] = 1
    _, large = Scale().apply(labels[:, None].float(), labels, 2.2)
    rows = large[0].any(1).nonzero()[:, 0]
    assert rows[0] + rows[-1] == 40
    assert len(rows) == 19  # pixels whose centres are within 4.5 · 2.2 of the centre
    _, small = Scale().apply(labels[:, None].float(), labels, 0.5)
    assert small.sum() < labels.sum()


def test_what_comes_from_outside_is_black_background():
    video, labels = torch.ones(2, 1, 20, 20), torch.ones(2, 20, 20, dtype=torch.int64)
    moved, classes = Scale().apply(video, labels, 0.5)
    assert moved[..., 0, 0].max() == 0
    assert classes[..., 0, 0].max() == 0


class Shear(Movement):
    """x ← x + s y, which commutes with neither rotation nor scaling by another factor an axis."""

    def __init__(self, low: float, high: float):
        super().__init__(1.0, (low, high))

    def back(self, strength: float) -> np.ndarray:
        return np.array([[1.0, -strength], [0.0, 1.0]])


def _blob(size: tuple[int, int], back: np.ndarray | None = None) -> torch.Tensor:
    """A smooth hill beside the centre, and the same moved as `back` says, exactly: (1, 1, y, x)."""
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size)
    v, u = torch.meshgrid(y, x, indexing="ij")
    b = np.eye(2) if back is None else back
    u, v = b[0, 0] * u + b[0, 1] * v, b[1, 0] * u + b[1, 1] * v
    return torch.exp(-((u - 4) ** 2 / 60 + (v + 3) ** 2 / 40))[None, None].float()


def _in_turn(chain, video, labels, rng):
    for transform in chain:
        video, labels = transform(video, labels, rng)
    return video, labels


CHAINS = st.permutations([Scale(p=1, factor=(0.8, 1.3)), Rotate(p=1, degrees=(-40, 40)), Shear(-0.3, 0.3)])


@settings(deadline=None, max_examples=30)
@given(CHAINS, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_movements_composed_are_the_movements_in_turn(order, count, seed):
    """To a tolerance on a smooth picture, whose exact movement is known: one resampling is as near to it as any."""
    chain, size = order[:count], (61, 75)
    video, rngs = _blob(size), [np.random.default_rng(seed) for _ in range(3)]
    labels = (video[:, 0] > 0.3).long()
    once, in_turn = augment_clip(chain, video, labels, rngs[0]), _in_turn(chain, video, labels, rngs[1])
    assert rngs[0].random() == rngs[1].random()  # the same draws
    back = np.eye(2)
    for transform in chain:
        back = back @ transform.back(transform.draw(rngs[2]))
    exact = _blob(size, back)
    torch.testing.assert_close(once[0], in_turn[0], rtol=0, atol=0.04)
    torch.testing.assert_close(once[0], exact, rtol=0, atol=0.016)
    assert (once[0] - exact).abs().mean() <= (in_turn[0] - exact).abs().mean() + 1e-7
    wrong = once[1] != (exact[:, 0] > 0.3).long()
    assert not (wrong & ((exact[:, 0] - 0.3).abs() > 0.1)).any()  # off by the edge's pixel at most


@settings(deadline=None, max_examples=20)
@given(CHAINS, st.integers(0, 2**32 - 1))
def test_labels_are_taken_from_the_nearest_pixel_of_the_composed_movement(chain, seed):
    y, x = 24, 30
    labels = torch.arange(1, y * x + 1).reshape(1, y, x)
    _, moved = augment_clip(chain, _coordinates((y, x)), labels, np.random.default_rng(seed))
    back, rng = np.eye(2), np.random.default_rng(seed)
    for transform in chain:
        back = back @ transform.back(transform.draw(rng))
    v, u = np.mgrid[:y, :x] - np.array([(y - 1) / 2, (x - 1) / 2])[:, None, None]
    column, row = np.einsum("ij,jyx->iyx", back, np.stack([u, v])) + np.array([(x - 1) / 2, (y - 1) / 2])[:, None, None]
    inside = (row > -0.49) & (row < y - 0.51) & (column > -0.49) & (column < x - 0.51)
    clear = inside & (abs(row % 1 - 0.5) > 1e-3) & (abs(column % 1 - 0.5) > 1e-3)
    nearest = np.rint(row[clear]) * x + np.rint(column[clear]) + 1
    assert clear.sum() > 50
    np.testing.assert_array_equal(moved[0].numpy()[clear], nearest)


def _resamplings(monkeypatch, chain) -> int:
    calls = []
    real = module.grid_sample
    monkeypatch.setattr(module, "grid_sample", lambda *words, **options: calls.append(1) or real(*words, **options))
    augment_clip(chain, *_clip(), np.random.default_rng(0))
    return len(calls) // 2  # one for the video, one for its labels


@pytest.mark.parametrize(
    ("chain", "times"),
    [
        ((Gamma(p=1), Scale(p=1), Rotate(p=1), Contrast(p=1)), 1),
        ((Scale(p=1), Rotate(p=1), Scale(p=1)), 1),
        ((Scale(p=1), Contrast(p=1), Rotate(p=1)), 2),
        ((Scale(p=1), Rotate(p=0)), 1),
        ((Scale(p=0), Rotate(p=0)), 0),
    ],
)
def test_neighbouring_movements_are_resampled_once(monkeypatch, chain, times):
    assert _resamplings(monkeypatch, chain) == times


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([(Gamma(), Scale(), Contrast()), (Scale(), Contrast(), Rotate()), (Rotate(), Gamma(), Scale())]),
    st.integers(0, 2**32 - 1),
)
def test_where_no_movements_meet_the_transforms_act_in_turn(chain, seed):
    video, labels = _clip()
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    once, in_turn = augment_clip(chain, video, labels, rngs[0]), _in_turn(chain, video, labels, rngs[1])
    torch.testing.assert_close(once, in_turn, rtol=0, atol=0)
    assert rngs[0].random() == rngs[1].random()


def test_what_leaves_the_frame_and_comes_back_is_kept():
    video = torch.full((1, 1, 20, 20), 0.5)
    labels = torch.ones(1, 20, 20, dtype=torch.int64)
    chain = (Scale(p=1, factor=(2, 2)), Scale(p=1, factor=(0.5, 0.5)))
    kept, classes = augment_clip(chain, video, labels, np.random.default_rng(0))
    torch.testing.assert_close(kept, video)
    assert torch.equal(classes, labels)
