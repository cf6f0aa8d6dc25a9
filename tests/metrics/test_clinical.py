import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.errors import DataError
from memx.metrics import (
    EjectionFraction,
    Volume,
    area_length,
    ejection_fraction,
    find_ed_es,
    long_axis,
    simpson_biplane,
    simpson_single,
    single_plane_volume,
)
from memx.metrics.long_axis import discs

FINE = (0.25, 0.25)
CAMUS = (0.308, 0.154)


def apical(length, radius, *, degrees=0.0, spacing=FINE, size=None, whole=False, annulus=0.0):
    """A half ellipsoid (or a whole one) cut through its long axis: apex up, base flat or tilted; in mm."""
    size = size or (int(160 / spacing[0]), int(160 / spacing[1]))
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    y, x = y * spacing[0] - 90, x * spacing[1] - 80
    turn = math.radians(degrees)
    along, across = -math.cos(turn) * y + math.sin(turn) * x, math.sin(turn) * y + math.cos(turn) * x
    inside = (along / length) ** 2 + (across / radius) ** 2 <= 1
    return inside if whole else inside & (along >= math.tan(math.radians(annulus)) * across)


def half_ml(length, a, b):
    return 2 / 3 * math.pi * length * a * b / 1000


turns = st.floats(-45, 45)


@given(turns, st.floats(55, 85), st.floats(15, 30), st.sampled_from([FINE, CAMUS]), st.booleans())
@settings(deadline=None, max_examples=25)
def test_volume_of_ellipsoids_to_one_per_cent(degrees, length, radius, spacing, whole):
    length = length / 2 if whole else length
    radius = min(radius, 0.8 * length)
    mask = apical(length, radius, degrees=degrees, spacing=spacing, whole=whole)
    true = half_ml(length, radius, radius) * (2 if whole else 1)
    assert simpson_single(mask, spacing).value == pytest.approx(true, rel=0.01)
    assert area_length(mask, spacing).value == pytest.approx(true, rel=0.01)


@pytest.mark.parametrize(
    ("degrees", "length", "radius", "spacing"),
    [
        (-4.4057, 56.5811, 30, FINE),
        (7.7638, 57.1044, 30, CAMUS),
        (2.5454, 61.795, 30, FINE),
        (-31.5711, 57.6, 30, FINE),
    ],
)
def test_a_blunt_tip_does_not_draw_the_axis_askew(degrees, length, radius, spacing):
    """Short, wide halves, of which the one farthest pixel lies up to 1° beside the tip: of 500 the worst."""
    mask = apical(length, radius, degrees=degrees, spacing=spacing)
    axis = long_axis(mask, spacing)
    assert axis is not None
    found = math.degrees(math.atan2(axis.direction[1], -axis.direction[0]))
    assert found == pytest.approx(degrees, abs=0.4)
    assert simpson_single(mask, spacing).value == pytest.approx(half_ml(length, radius, radius), rel=0.01)


@given(turns, turns, st.floats(18, 30), st.floats(18, 30))
@settings(deadline=None, max_examples=15)
def test_biplane_volume_of_an_ellipsoid_with_three_axes(first, second, a, b):
    two, four = apical(75, a, degrees=first, spacing=CAMUS), apical(75, b, degrees=second)
    volume = simpson_biplane(two, CAMUS, four, FINE)
    assert volume.value == pytest.approx(half_ml(75, a, b), rel=0.01)
    assert (volume.unit, volume.method, volume.note) == ("ml", "Simpson biplane", "")


@pytest.mark.parametrize("degrees", [-45, -20, 0, 12, 45])
@pytest.mark.parametrize("annulus", [-15, 0, 15])
def test_long_axis_runs_from_the_middle_of_the_annulus_to_the_apex(degrees, annulus):
    axis = long_axis(apical(75, 25, degrees=degrees, annulus=annulus), FINE)
    turn = math.radians(degrees)
    assert axis is not None
    assert axis.length == pytest.approx(75, rel=0.02)
    assert axis.base == pytest.approx((90, 80), abs=1.5)
    assert axis.apex == pytest.approx((90 - 75 * math.cos(turn), 80 + 75 * math.sin(turn)), abs=1.5)
    assert axis.direction == pytest.approx((-math.cos(turn), math.sin(turn)), abs=0.03)


@given(turns, st.floats(10, 70), st.floats(8, 30), st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_discs_cover_the_area_whatever_their_number(degrees, length, radius, count):
    mask = apical(length, radius, degrees=degrees, spacing=(1.0, 0.7))
    cut = discs(mask, (1.0, 0.7), count)
    assert cut is not None
    assert len(cut.diameters) == count
    assert cut.diameters.sum() * cut.height == pytest.approx(mask.sum() * 0.7, rel=1e-9)


def test_a_speck_and_a_hole_change_nothing():
    mask = apical(75, 25, degrees=10)
    broken = mask.copy()
    broken[5:9, 5:9] = True
    broken[260:264, 320:324] = False
    assert mask[260:264, 320:324].all()
    assert simpson_single(broken, FINE) == simpson_single(mask, FINE)
    assert area_length(broken, FINE) == area_length(mask, FINE)


def test_without_spacing_volumes_are_in_pixels_and_the_ejection_fraction_is_the_same():
    ed, es = apical(80, 25), apical(65, 18)
    inside, outside = (ejection_fraction(area_length(ed, s), area_length(es, s)) for s in (FINE, None))
    assert (inside.unit, outside.unit) == ("ml", "px³")
    assert outside.value == pytest.approx(inside.value, abs=1e-6)
    assert "assumed square" in outside.note
    assert inside.note == ""
    assert inside.value == pytest.approx(100 * (1 - half_ml(65, 18, 18) / half_ml(80, 25, 25)), abs=1)
    assert single_plane_volume(ed, None).method == outside.method == "area-length"
    assert single_plane_volume(ed, FINE).method == "Simpson single-plane"


def test_odd_masks_have_a_volume():
    nothing = np.zeros((9, 9), bool)
    dot = nothing.copy()
    dot[4, 4] = True
    ring = np.ones((9, 9), bool)
    assert simpson_single(nothing, FINE) == Volume(0.0, "ml", "Simpson single-plane", "empty mask")
    assert area_length(nothing, None).note == "empty mask"
    assert simpson_biplane(nothing, FINE, dot, FINE).note == "empty mask"
    assert long_axis(nothing, FINE) is None
    for mask in (dot, ring, dot[4:5], dot[:, 4:5], np.eye(9, dtype=bool)):
        for method in (simpson_single, area_length):
            assert 0 < method(mask, None).value < 2000


def test_biplane_says_when_the_views_do_not_fit():
    long, short = apical(80, 25), apical(60, 25)
    volume = simpson_biplane(long, FINE, short, FINE)
    alone = simpson_single(long, FINE).value
    assert volume.value == pytest.approx(alone, rel=0.01), "the discs are as wide, and the longer axis counts"
    assert simpson_biplane(short, FINE, long, FINE).value == pytest.approx(volume.value)
    assert volume.note == "the long axes of the two views differ by 25%"
    with pytest.raises(ValueError, match="give both or neither"):
        simpson_biplane(apical(80, 25), FINE, apical(80, 25), None)


def test_ejection_fraction_by_hand():
    found = ejection_fraction(Volume(120.0, "ml", "given"), Volume(48.0, "ml", "given"))
    assert found == EjectionFraction(value=60.0, edv=120.0, esv=48.0, method="given", unit="ml")


def test_ejection_fraction_flags_and_refuses_nonsense():
    small, large, none = (Volume(value, "ml", "given") for value in (60.0, 100.0, 0.0))
    assert ejection_fraction(small, large).value == pytest.approx(-66.7, abs=0.1)
    assert "negative" in ejection_fraction(small, large).note
    assert ejection_fraction(large, none).value == 100
    with pytest.raises(DataError, match="end-diastolic volume by given is 0"):
        ejection_fraction(none, small)
    with pytest.raises(ValueError, match="use one method"):
        ejection_fraction(large, Volume(60.0, "px³", "given"))
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and not negative"):
            Volume(value, "ml", "given")


@given(st.integers(8, 80), st.integers(0, 79), st.floats(20, 100), st.floats(0.05, 0.6))
@settings(deadline=None, max_examples=50)
def test_ed_and_es_of_a_beat(period, shift, mean, depth):
    period -= period % 2
    frames = np.arange(period)
    curve = mean * (1 + depth * np.cos(2 * np.pi * (frames - shift) / period))
    found = find_ed_es(curve)
    assert found is not None
    assert found == (shift % period, (shift + period // 2) % period)


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=30, unique=True))
@settings(deadline=None, max_examples=50)
def test_a_monotonic_curve_keeps_its_ends(values):
    falling = sorted(values, reverse=True)
    assert find_ed_es(falling) == (0, len(values) - 1)
    assert find_ed_es(falling[::-1]) == (len(values) - 1, 0)


def test_missed_frames_and_ties():
    assert find_ed_es([5.0, 4.0, 0.0, float("nan"), 3.0, 4.0]) == (0, 4)
    assert find_ed_es([2.0, 2.0, 2.0]) == (0, 0)
    assert find_ed_es([0.0, 0.0]) is None
    assert find_ed_es([]) is None
    with pytest.raises(ValueError, match="not negative"):
        find_ed_es([1.0, -1.0])
