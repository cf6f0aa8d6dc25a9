"""The phantom's laws: it is the same every time, its EF is the one it was made with, and its labels are anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from memx.data import phantom
from memx.data.phantom import anatomy, cycle
from memx.data.phantom.population import REVERSED_EVERY, VIEWS
from memx.data.polygon import fill_polygon

people = st.builds(phantom.patient, st.integers(0, 10_000), st.integers(0, 500))
views = st.sampled_from(VIEWS)


def simpson_discs(labels: np.ndarray, spacing: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Widths of 20 discs across the long axis of an LV mask, and its length, in millimetres."""
    rows, cols = np.nonzero(labels == 1)
    points = np.stack((cols * spacing[1], rows * spacing[0]), axis=1)
    seam = np.argwhere((labels == 1) & ndimage.binary_dilation(labels == 3))
    base = np.array([seam[:, 1].mean() * spacing[1], (seam[:, 0].mean() + 0.5) * spacing[0]])
    apex = points[np.argmax(np.linalg.norm(points - base, axis=1))]
    length = np.linalg.norm(base - apex)
    along = (points - apex) @ (base - apex) / length + spacing[0] / 2
    length = float(length + spacing[0] / 2)
    disc = np.clip((along / length * 20).astype(int), 0, 19)
    return np.bincount(disc, minlength=20) * spacing[0] * spacing[1] / (length / 20), length


def simpson_volume(two: phantom.Simulation, four: phantom.Simulation, at: str) -> float:
    """The biplane method of discs, in millilitres: V = π/4 Σ aᵢ bᵢ · L / 20."""
    a, length_a = simpson_discs(two.labels[getattr(two, at)], two.spacing)
    b, length_b = simpson_discs(four.labels[getattr(four, at)], four.spacing)
    return float(np.pi / 4 * np.sum(a * b) * max(length_a, length_b) / 20 / 1000)


@pytest.mark.parametrize("seed", range(6))
def test_simpson_on_the_labels_gives_the_ef_it_was_made_with(seed: int) -> None:
    for index in range(12):
        person = phantom.patient(seed, index)
        two, four = (phantom.simulate(person, view, size=192, frames=2, images=False) for view in VIEWS)
        edv, esv = simpson_volume(two, four, "ed"), simpson_volume(two, four, "es")
        assert 100 * (1 - esv / edv) == pytest.approx(person.ef, abs=2.0), (seed, index)
        assert edv == pytest.approx(person.edv, rel=0.2), "only foreshortening may take volume away"


@settings(deadline=None, max_examples=25)
@given(people)
def test_the_solid_has_the_volume_that_the_cycle_wants(person: phantom.Patient) -> None:
    """An integral of its own over the discs, without the closed form that the motion was solved with."""
    heart, phases = person.heart, np.linspace(0, 1, 9)
    emptied = cycle.contraction(person, phases)
    kappa, length, volumes = anatomy.inward(heart, person.edv, person.esv, emptied)
    s = (np.arange(4000) + 0.5) / 4000
    wide = anatomy.half_width(heart, person.edv) * anatomy.profile(heart, s)
    reach = {
        name: wide * wall.reach * (1 - kappa[:, None] * wall.motion(s)) * (1.0 if at < 2 else heart.flattening)
        for at, (name, wall) in enumerate(heart.walls.items())
    }
    area = np.pi / 4 * (reach["septal"] + reach["lateral"]) * (reach["inferior"] + reach["anterior"])
    np.testing.assert_allclose(area.mean(axis=1) * length / 1000, volumes, rtol=1e-4)
    assert volumes[0] == pytest.approx(person.edv)
    assert 100 * (1 - volumes.min() / volumes.max()) <= person.ef + 1e-9


@settings(deadline=None, max_examples=12)
@given(people, views)
def test_labels_are_anatomy(person: phantom.Patient, view: phantom.ViewName) -> None:
    clip = phantom.simulate(person, view, size=128, frames=6, images=False)
    for labels in clip.labels:
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        for value in (1, 2, 3):
            assert ndimage.label(labels == value)[1] == 1
        # Leaving the cavity one meets myocardium, or the atrium through the valve, and nothing else but at its hinges.
        rim = ndimage.binary_dilation(labels == 1) & (labels != 1)
        assert np.mean(labels[rim] == 0) < 0.03
        assert np.mean(labels[rim] == 2) > 0.6
        centre = {value: ndimage.center_of_mass(labels == value) for value in (1, 3)}
        assert centre[3][0] > centre[1][0], "the atrium lies below the ventricle: the apex is at the top"
    area = (clip.labels == 1).sum(axis=(1, 2))
    assert area[clip.ed] >= area.max() * 0.995
    assert area[clip.es] <= area.min() * 1.005
    assert area[clip.ed] > area[clip.es]
    filling = (clip.labels == 3).sum(axis=(1, 2))
    assert filling[clip.es] > filling[clip.ed], "the atrium fills while the ventricle empties"


@settings(deadline=None, max_examples=25)
@given(people, views)
def test_outline_is_largest_at_ed_and_smallest_at_es(person: phantom.Patient, view: phantom.ViewName) -> None:
    phases = np.linspace(0, 1, 41)[:-1]
    phases[np.argmin(np.abs(phases - person.systole))] = person.systole
    shape = anatomy.build(person, view, phases)
    x, y = np.moveaxis(shape.cavity(), -1, 0)
    area = 0.5 * np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1))
    assert area.argmax() == 0
    assert phases[area.argmin()] == person.systole
    closed = cycle.opening(person, phases)
    assert np.all(closed[phases <= person.systole] == 0), "the mitral valve is closed in systole"
    assert closed.max() > 0.85


@settings(deadline=None, max_examples=25)
@given(people, views)
def test_the_cavity_lies_within_the_sector(person: phantom.Patient, view: phantom.ViewName) -> None:
    seen, curve = person.views[view], anatomy.build(person, view, np.linspace(0, 1, 13)).cavity()
    assert np.rad2deg(np.abs(np.arctan2(curve[..., 0], curve[..., 1]))).max() < seen.half_angle
    assert np.linalg.norm(curve, axis=-1).max() < seen.depth


def test_the_same_seed_gives_the_same_clip_and_another_another() -> None:
    first, again, other = (phantom.simulate(phantom.patient(s, 2), "4CH", size=64, frames=3) for s in (5, 5, 6))
    assert np.array_equal(first.video, again.video)
    assert np.array_equal(first.labels, again.labels)
    assert phantom.patient(5, 2) == phantom.patient(5, 2) != phantom.patient(6, 2)
    assert first.video.shape != other.video.shape or not np.array_equal(first.video, other.video)


def test_the_population_is_a_clinic() -> None:
    crowd = [phantom.patient(0, index) for index in range(300)]
    ef = np.array([person.ef for person in crowd])
    assert ef.min() >= 15
    assert ef.max() <= 75
    assert np.mean(ef < 40) > 0.15
    assert np.mean(ef > 55) > 0.25
    assert {person.quality for person in crowd} == {"Good", "Medium", "Poor"}
    assert {person.sex for person in crowd} == {"F", "M"}
    for start in range(0, 300, REVERSED_EVERY):
        block = crowd[start : start + REVERSED_EVERY]
        assert sum(person.views["2CH"].reversed for person in block) == 1


def test_a_reversed_half_sequence_runs_from_es_to_ed() -> None:
    person = next(p for p in (phantom.patient(1, i) for i in range(REVERSED_EVERY)) if p.views["4CH"].reversed)
    clip = phantom.simulate(person, "4CH", size=64, frames=5, images=False)
    assert (clip.es, clip.ed) == (0, 4)
    assert clip.volumes[0] == pytest.approx(person.esv)
    assert clip.volumes[-1] == pytest.approx(person.edv)


@pytest.mark.parametrize("index", range(4))
def test_a_cycle_holds_ed_and_es(index: int) -> None:
    person = phantom.patient(2, index)
    clip = phantom.simulate(person, "4CH", size=112, span="cycle", fps=50.0, square=True, images=False)
    assert clip.video.shape[1:] == (112, 112)
    assert clip.spacing[0] == clip.spacing[1]
    assert len(clip.video) >= 60 / person.heart_rate * 50 - 0.5
    assert clip.volumes[clip.ed] == pytest.approx(person.edv) == clip.volumes.max()
    assert clip.volumes[clip.es] == pytest.approx(person.esv) == clip.volumes.min()


def test_the_picture_shows_what_the_labels_say() -> None:
    """In a good picture muscle is brighter than blood, black lies outside the sector, and speckle moves smoothly."""
    good = [p for p in (phantom.patient(0, i) for i in range(20)) if p.quality == "Good"][:3]
    for person in good:
        clip = phantom.simulate(person, "4CH", size=128, aspect=1.0, frames=14)
        assert clip.video[clip.labels == 2].mean() > 1.5 * clip.video[clip.labels == 1].mean()
        assert clip.video[:, 0, 0].max() == 0
        wall = (clip.labels[:-1] == 2) & (clip.labels[1:] == 2)
        here, there = (v[wall].astype(float) for v in (clip.video[:-1], clip.video[1:]))
        assert np.corrcoef(here, there)[0, 1] > 0.8


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 9), st.integers(0, 2**31))
def test_fill_polygon_takes_the_pixels_whose_centres_are_inside(corners: int, seed: int) -> None:
    """Against the crossing rule, point by point, on star-shaped polygons that may leave the picture."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    polygon = np.array([9.3, 7.7]) + rng.uniform(2, 14, corners)[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)
    found = fill_polygon(polygon[:, 0], polygon[:, 1], (16, 20), edges=False)
    for row in range(16):
        for col in range(20):
            inside = False
            for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                if (y0 <= row) != (y1 <= row) and col >= x0 + (row - y0) / (y1 - y0) * (x1 - x0):
                    inside = not inside
            assert found[row, col] == inside


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed=-1"):
        phantom.patient(-1, 0)
