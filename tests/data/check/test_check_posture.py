"""A ventricle that lies on its side is told from one that leans, and from one that has no long axis."""

from __future__ import annotations

import numpy as np
import pytest

from memx.data.check.posture import degrees_lying


def ellipse(degrees: float, *, length: float = 40, width: float = 20) -> np.ndarray:
    """An ellipse with its long axis at an angle from the vertical."""
    y, x = np.mgrid[:128, :128] - 63.5
    angle = np.deg2rad(degrees)
    along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    return (along / length) ** 2 + (across / width) ** 2 <= 1


@pytest.mark.parametrize("degrees", [-85, -65, 62, 75, 90])
def test_a_long_axis_far_from_the_vertical_is_measured(degrees: float) -> None:
    assert degrees_lying(ellipse(degrees), None) == pytest.approx(abs(degrees), abs=0.5)


@pytest.mark.parametrize("degrees", [-55, -30, 0, 20, 58])
def test_a_ventricle_may_lean(degrees: float) -> None:
    assert degrees_lying(ellipse(degrees), None) is None


def test_what_is_hardly_longer_than_wide_does_not_lie() -> None:
    assert degrees_lying(ellipse(90, length=40, width=33), None) is None
    assert degrees_lying(ellipse(90, length=40, width=29), None) == pytest.approx(90, abs=0.5)


def test_millimetres_count_where_they_are_known() -> None:
    """Wider than high in pixels, higher than wide in millimetres; and one that is transposed with its pixels."""
    mask = ellipse(90, length=40, width=25)
    assert degrees_lying(mask, None) is not None
    assert degrees_lying(mask, (3.0, 1.0)) is None
    assert degrees_lying(ellipse(0, length=40, width=25), (1.0, 3.0)) == pytest.approx(90, abs=0.5)


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_too_few_pixels_say_nothing(pixels: int) -> None:
    mask = np.zeros((8, 8), bool)
    mask[3, :pixels] = True
    assert degrees_lying(mask, None) is None
