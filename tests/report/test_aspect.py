"""Pictures show frames in their true proportions."""

from __future__ import annotations

import numpy as np
import torch

from memx.report.aspect import square_pixels


def test_the_coarser_axis_is_enlarged() -> None:
    frame, mask = torch.rand(1, 20, 10), np.ones((20, 10), np.uint8)
    seen, drawn = square_pixels(frame, mask, (0.5, 1.5))
    assert seen.shape == (1, 20, 30)
    assert drawn.shape == (20, 30)
    assert drawn.dtype == np.uint8
    assert (drawn == 1).all()


def test_square_and_unknown_pixels_stay() -> None:
    frame, mask = torch.rand(1, 20, 10), np.ones((20, 10), np.uint8)
    for spacing in (None, (0.7, 0.7), (0.7, 0.705)):
        seen, drawn = square_pixels(frame, mask, spacing)
        assert seen is frame
        assert drawn is mask
