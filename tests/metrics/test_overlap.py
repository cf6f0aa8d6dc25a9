import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from memx.metrics import dice, iou

pairs = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@given(pairs)
@settings(deadline=None, max_examples=100)
def test_agrees_with_sets_of_pixels(pair):
    first, second = ({tuple(p) for p in np.argwhere(mask)} for mask in pair)
    if not first and not second:
        assert dice(*pair) is None
        assert iou(*pair) is None
    else:
        assert dice(*pair) == pytest.approx(2 * len(first & second) / (len(first) + len(second)), abs=1e-12)
        assert iou(*pair) == pytest.approx(len(first & second) / len(first | second), abs=1e-12)


@given(pairs)
@settings(deadline=None, max_examples=50)
def test_is_symmetric_and_iou_is_a_function_of_dice(pair):
    d, j = dice(*pair), iou(*pair)
    assert d == dice(*pair[::-1])
    if d is not None and j is not None:
        assert j == pytest.approx(d / (2 - d), abs=1e-12)


def test_one_empty_is_zero_and_equal_masks_are_one():
    mask = np.zeros((5, 5), bool)
    mask[1:3, 1:3] = True
    assert dice(mask, ~np.ones_like(mask)) == 0
    assert iou(~np.ones_like(mask), mask) == 0
    assert dice(mask, mask) == iou(mask, mask) == 1


def test_refuses_label_maps_and_other_shapes():
    mask = np.zeros((4, 4), bool)
    with pytest.raises(TypeError, match="pred is int64; wants a boolean mask"):
        dice(np.zeros((4, 4), np.int64), mask)
    with pytest.raises(ValueError, match=r"pred is \(4, 4\) and truth is \(2, 2\)"):
        iou(mask, mask[:2, :2])
