"""The laws of the point-sampled loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.losses import SegmentationLoss, sample_points, uncertain_points
from memx.losses.segmentation import distribution
from memx.models import Auxiliary, Output

PARTS = {"total", "cross_entropy", "dice", "auxiliary"}


def output(logits: torch.Tensor, auxiliary: Auxiliary | None = None) -> Output:
    return Output(logits.softmax(2)[:, :, 1:], logits, auxiliary)


def example(objects: int = 2, size: int = 12, dtype: torch.dtype = torch.float64):
    """Random logits of 2 clips of 3 frames, and masks of disjoint objects."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, objects + 1, size, size, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, objects + 1, (2, 3, size, size))
    masks = torch.stack([labels == i + 1 for i in range(objects)], dim=2).to(dtype)
    return logits, masks, labels


def test_on_every_pixel_it_is_cross_entropy_and_dice():
    logits, masks, labels = example()
    supervised = torch.tensor([[True, False, True], [False, True, True]])
    parts = SegmentationLoss(points=None)(output(logits), masks, supervised)
    log_p = logits[supervised].log_softmax(1)
    ce = -log_p.gather(1, labels[supervised][:, None]).mean()
    p, g = log_p.exp()[:, 1:].flatten(2), masks[supervised].flatten(2)
    dice = (1 - (2 * (p * g).sum(-1) + 1) / (p.sum(-1) + g.sum(-1) + 1)).mean()
    assert set(parts) == PARTS
    torch.testing.assert_close(parts["cross_entropy"], ce.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(parts["dice"], dice.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(parts["total"], ce + dice, atol=1e-12, rtol=0)


@pytest.mark.parametrize("points", [None, 64])
def test_only_supervised_frames_count(points):
    logits, masks, _ = example()
    supervised = torch.tensor([[True, False, False], [False, False, True]])
    masks[~supervised] = float("nan")
    loss = SegmentationLoss(points=points)(output(logits), masks, supervised)["total"]
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[supervised].any()
    assert not logits.grad[~supervised].any()


def test_without_a_supervised_frame_it_is_zero_with_zero_gradients():
    logits, masks, _ = example()
    parts = SegmentationLoss()(output(logits), masks, torch.zeros(2, 3, dtype=torch.bool))
    parts["total"].backward()
    assert {name: float(x.detach()) for name, x in parts.items()} == dict.fromkeys(PARTS, 0.0)
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("points", [None, 64])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks_are_finite(points, value):
    logits, masks, _ = example(objects=1)
    full = torch.full_like(masks, value)
    loss = SegmentationLoss(points=points)(output(logits), full, torch.ones(2, 3, dtype=torch.bool))["total"]
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_certain_and_right_answer_costs_nothing_and_a_wrong_one_much():
    _, masks, _ = example()
    right = 50 * distribution(masks.flatten(0, 1)).unflatten(0, (2, 3))
    loss, everything = SegmentationLoss(points=None), torch.ones(2, 3, dtype=torch.bool)
    assert loss(output(right), masks, everything)["total"] < 1e-6
    assert loss(output(-right), masks, everything)["total"] > 10


def test_points_estimate_the_loss_of_every_pixel():
    """On a blank picture every point is a pixel's value, wherever it falls."""
    logits = torch.randn(2, 3, 3, 1, 1, dtype=torch.float64).expand(-1, -1, -1, 8, 8)
    masks = torch.zeros(2, 3, 2, 8, 8, dtype=torch.float64)
    masks[:, :, 0] = 1
    everything = torch.ones(2, 3, dtype=torch.bool)
    by_points = SegmentationLoss(points=64)(output(logits), masks, everything)
    by_pixels = SegmentationLoss(points=None)(output(logits), masks, everything)
    for name in PARTS:
        torch.testing.assert_close(by_points[name], by_pixels[name], atol=1e-12, rtol=0)


def test_the_draw_is_torchs():
    logits, masks, _ = example()
    everything, loss = torch.ones(2, 3, dtype=torch.bool), SegmentationLoss(points=16)

    def draw(seed: int) -> float:
        torch.manual_seed(seed)
        return float(loss(output(logits), masks, everything)["total"].detach())

    assert draw(1) == draw(1) != draw(2)


def test_auxiliary_losses_add_with_their_weight():
    logits, masks, _ = example()
    auxiliary = Auxiliary(torch.randn(2, 3, 3, 3, 3).double(), torch.randn(2, 3, 3, 4, 3, 3).double())
    everything = torch.ones(2, 3, dtype=torch.bool)
    plain = SegmentationLoss(points=None)(output(logits), masks, everything)
    weighted = SegmentationLoss(points=None, auxiliary=0.5)(output(logits, auxiliary), masks, everything)
    levels = [Auxiliary(auxiliary.sensory)]
    levels += [Auxiliary(queries=level[:, :, :, None]) for level in auxiliary.queries.unbind(3)]
    alone = [SegmentationLoss(points=None)(output(logits, one), masks, everything)["auxiliary"] for one in levels]
    torch.testing.assert_close(weighted["auxiliary"], sum(alone), atol=1e-10, rtol=0)
    torch.testing.assert_close(weighted["total"], plain["total"] + 0.5 * weighted["auxiliary"], atol=1e-10, rtol=0)
    ignored = SegmentationLoss(points=None, auxiliary=0)(output(logits, auxiliary), masks, everything)
    torch.testing.assert_close(ignored["total"], plain["total"])


def test_shapes_that_do_not_fit_are_refused():
    logits, masks, _ = example()
    with pytest.raises(
        ValueError, match=r"masks \[2, 3, 1, 12, 12\] .* do not fit an output of masks \[2, 3, 2, 12, 12\]"
    ):
        SegmentationLoss()(output(logits), masks[:, :, :1], torch.ones(2, 3, dtype=torch.bool))


def test_overlapping_masks_share_the_pixel():
    masks = torch.tensor([[[[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]]])
    shares = distribution(masks)[0, :, 0].T
    assert shares.tolist() == [[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 6), width=st.integers(1, 6), scale=st.integers(1, 4))
def test_points_at_pixel_centres_are_pixels_at_any_scale(height, width, scale):
    maps = torch.randn(2, 3, height, width, dtype=torch.float64)
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    points = torch.stack([x, y], dim=-1).flatten(0, 1).double().expand(2, -1, -1)
    torch.testing.assert_close(sample_points(maps, points), maps.flatten(2), atol=1e-6, rtol=0)
    if scale % 2:
        bigger = maps.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        torch.testing.assert_close(sample_points(bigger, points), maps.flatten(2), atol=1e-6, rtol=0)


def test_points_gather_where_the_two_best_classes_are_close():
    torch.manual_seed(0)
    ramp = torch.linspace(-8, 8, 64).expand(64, 64)
    logits = torch.stack([ramp, -ramp])[None]
    points = uncertain_points(logits, 1000, oversample=3, importance=0.75)
    assert points.shape == (1, 1000, 2)
    assert ((points >= 0) & (points <= 1)).all()
    distance = (points[0, :, 0] - 0.5).abs()
    assert distance[:750].max() < 0.15
    assert distance[750:].max() > 0.4
    uniform = uncertain_points(logits, 1000, importance=0)
    assert (uniform[0, :, 0] - 0.5).abs().mean() == pytest.approx(0.25, abs=0.02)
