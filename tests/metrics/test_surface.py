import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial.distance import cdist

from memx.metrics import surface_distances
from memx.metrics.surface import surface

spacings = st.one_of(st.none(), st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)))


@st.composite
def mask_pairs(draw):
    """Two masks of one shape: noise, or smooth blobs such as a ventricle's."""
    shape = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    if draw(st.booleans()):
        return draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = [ndimage.gaussian_filter(generator.standard_normal(shape), 2) for _ in range(2)]
    return smooth[0] > 0, smooth[1] > 0


def border_points(mask, spacing):
    """Pixels with a four-neighbour outside the mask or the image, by walking over all of them."""
    height, width = mask.shape
    points = []
    for y, x in np.argwhere(mask):
        around = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if any(not (0 <= j < height and 0 <= i < width) or not mask[j, i] for j, i in around):
            points.append((y * spacing[0], x * spacing[1]))
    return np.array(points)


@given(mask_pairs(), spacings)
@settings(deadline=None, max_examples=150)
def test_agrees_with_all_distances_between_border_points(pair, spacing):
    found = surface_distances(*pair, spacing)
    scale = spacing or (1.0, 1.0)
    first, second = (border_points(mask, scale) for mask in pair)
    if not len(first) and not len(second):
        assert found is None
        return
    assert found is not None
    assert found.unit == ("px" if spacing is None else "mm")
    if not len(first) or not len(second):
        diagonal = math.sqrt((pair[0].shape[0] * scale[0]) ** 2 + (pair[0].shape[1] * scale[1]) ** 2)
        assert found.missed
        assert (found.hd, found.hd95, found.asd) == pytest.approx((diagonal,) * 3)
        return
    every = cdist(first, second)
    forth, back = every.min(1), every.min(0)
    assert not found.missed
    assert found.hd == pytest.approx(max(forth.max(), back.max()), abs=1e-6)
    assert found.hd95 == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)), abs=1e-6)
    assert found.asd == pytest.approx(np.concatenate([forth, back]).mean(), abs=1e-6)
    assert found.asd <= found.hd + 1e-9


def by_distance_transform(pred, truth, spacing):
    """HD, HD95 and ASD from scipy's distance transform of the whole picture: every step written out."""
    cross = ndimage.generate_binary_structure(2, 1)
    borders = []
    for mask in (pred, truth):
        framed = np.pad(mask, 1)
        inner = ndimage.binary_erosion(framed, cross)
        borders.append((framed & ~inner)[1:-1, 1:-1])
    to_truth = ndimage.distance_transform_edt(~borders[1], sampling=spacing)[borders[0]]
    to_pred = ndimage.distance_transform_edt(~borders[0], sampling=spacing)[borders[1]]
    hd = max(to_truth.max(), to_pred.max())
    hd95 = max(np.percentile(to_truth, 95), np.percentile(to_pred, 95))
    asd = (to_truth.sum() + to_pred.sum()) / (len(to_truth) + len(to_pred))
    return hd, hd95, asd


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, (1.0, 1.0), (0.308, 0.154), (0.2, 2.7)]))
@settings(deadline=None, max_examples=40)
def test_agrees_with_a_distance_transform_of_the_whole_picture(seed, spacing):
    """On masks of a ventricle's size and shape, which may touch the edge of the picture."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:112, :112]
    pair = []
    for _ in range(2):
        centre, radii = generator.uniform(20, 92, 2), generator.uniform(6, 40, 2)
        pair.append(((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1)
    first, second = pair
    found = surface_distances(first, second, spacing)
    assert found is not None
    expected = by_distance_transform(first, second, spacing or (1.0, 1.0))
    assert (found.hd, found.hd95, found.asd) == pytest.approx(expected, abs=1e-6)


@given(mask_pairs(), spacings, st.floats(0.2, 5))
@settings(deadline=None, max_examples=50)
def test_is_symmetric_and_scales_with_the_spacing(pair, spacing, factor):
    found, turned = surface_distances(*pair, spacing), surface_distances(*pair[::-1], spacing)
    if found is None or turned is None:
        assert found is turned
        return
    assert (turned.hd, turned.hd95, turned.asd) == pytest.approx((found.hd, found.hd95, found.asd), abs=1e-9)
    base = spacing or (1.0, 1.0)
    larger = surface_distances(*pair, (base[0] * factor, base[1] * factor))
    assert larger is not None
    scaled = [factor * distance for distance in (found.hd, found.hd95, found.asd)]
    assert [larger.hd, larger.hd95, larger.asd] == pytest.approx(scaled)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_agrees_with_monai():
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance  # pyright: ignore
    from torch import from_numpy

    generator = np.random.default_rng(3)
    masks = [ndimage.gaussian_filter(generator.standard_normal((48, 40)), 4) > 0.02 for _ in range(2)]
    batch = [from_numpy(mask[None, None].astype(np.float32)) for mask in masks]
    found = surface_distances(masks[0], masks[1], (0.3, 0.7))
    assert found is not None
    hd95 = compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=(0.3, 0.7)).item()
    hd = compute_hausdorff_distance(*batch, include_background=True, spacing=(0.3, 0.7)).item()
    assert found.hd == pytest.approx(hd, abs=1e-4)
    assert found.hd95 == pytest.approx(hd95, abs=1e-4)
    asd = compute_average_surface_distance(*batch, include_background=True, symmetric=True, spacing=(0.3, 0.7)).item()
    assert found.asd == pytest.approx(asd, abs=1e-4)


def test_two_squares_by_hand():
    first, second = np.zeros((2, 20, 20), bool)
    first[5:10, 5:10] = True
    second[5:10, 8:13] = True
    found = surface_distances(first, second, (1.0, 2.0))
    assert found is not None
    assert (found.hd, found.unit, found.missed) == (6.0, "mm", False)


def test_hd95_is_the_larger_directed_percentile_and_asd_is_pooled():
    """A line of 2 pixels against one of 21 that holds it: distances 0, 0 forth and 0, 0, 1 … 19 back."""
    short, long = np.zeros((2, 3, 24), bool)
    short[1, :2], long[1, :21] = True, True
    found = surface_distances(short, long, None)
    assert found is not None
    assert found.hd == 19
    assert found.hd95 == pytest.approx(18)
    assert found.asd == pytest.approx(190 / 23)
    assert surface_distances(long, short, None) == found


def test_surface_has_the_image_edge_and_no_inside():
    mask = np.ones((4, 5), bool)
    assert surface(mask).sum() == 14
    assert not surface(mask)[1:3, 1:4].any()


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -1.0), (1.0, float("nan")), (1.0, 1.0, 1.0)])
def test_refuses_what_is_no_spacing(spacing):
    with pytest.raises(ValueError, match="wants \\(y, x\\) in millimetres"):
        surface_distances(np.ones((3, 3), bool), np.ones((3, 3), bool), spacing)
