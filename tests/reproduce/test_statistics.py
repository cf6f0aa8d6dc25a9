"""Two-level intervals: known answers, coverage on drawn data, and the edges of one seed and one patient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from memx.metrics.agreement import agreement as bland_altman
from memx.reproduce.statistics import correlation, crossed, mean, median, seeds_alike

TABLES = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-10, 10, width=32)
)


def test_equal_figures_have_no_spread() -> None:
    found = mean(np.full((3, 5), 0.25))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert (found.seeds, found.patients) == (3, 5)


def test_one_seed_is_the_t_interval_over_patients() -> None:
    values = np.random.default_rng(0).normal(size=30)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean(values[None])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_seeds_that_alone_differ_give_the_t_interval_over_seeds() -> None:
    seeds = np.array([0.9, 0.93, 0.88])
    low, high = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    found = mean(np.repeat(seeds[:, None], 20, axis=1))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_variance_is_that_of_the_mean() -> None:
    """With seeds and patients that add up, v is σ_s²/S + σ_p²/P, from unbiased σ²."""
    rng = np.random.default_rng(2)
    seeds, patients = rng.normal(size=12), rng.normal(size=40)
    found = mean(seeds[:, None] + patients[None])
    parts = np.array([seeds.var(ddof=1) / 12, patients.var(ddof=1) / 40])
    freedom = parts.sum() ** 2 / (parts**2 / [11, 39]).sum()
    assert found.high is not None
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))


def test_one_patient_has_no_interval() -> None:
    found = mean(np.array([[1.0], [3.0]]))
    assert (found.value, found.low, found.high, found.sign) == (2.0, None, None, 0)


@settings(deadline=None, max_examples=30)
@given(TABLES)
def test_the_interval_is_repeatable_and_moves_with_the_figures(values: np.ndarray) -> None:
    found, again, moved = mean(values), mean(values), mean(values + 5)
    assert found == again
    assert moved.value == pytest.approx(found.value + 5, abs=1e-9)
    assert moved.low == pytest.approx(found.low + 5, abs=1e-6)  # type: ignore[operator]


def test_paired_differences_are_what_is_left_after_patients_cancel() -> None:
    """Patients differ by 10 points, the rows by 1: unpaired intervals overlap, the paired one excludes 0."""
    rng = np.random.default_rng(3)
    hard = rng.normal(scale=10, size=20)
    rows = [{s: {f"p{i}": hard[i] + shift + rng.normal(scale=0.2) for i in range(20)} for s in (0, 1, 2)}
            for shift in (1.0, 0.0)]  # fmt: skip
    better, worse = (mean(table) for row in rows if (table := crossed(row)) is not None)
    assert worse.high is not None
    assert better.low is not None
    assert better.low < worse.high
    paired = crossed(rows[0], rows[1])
    assert paired is not None
    found = mean(paired)
    assert found.value == pytest.approx(1.0, abs=0.2)
    assert found.sign == 1
    assert seeds_alike(paired) == (3, 3)
    assert mean(-paired).sign == -1


def test_only_common_seeds_and_patients_are_paired() -> None:
    first = {0: {"a": 1.0, "b": 2.0, "c": 3.0}, 1: {"a": 1.0, "b": 5.0}}
    second = {1: {"b": 1.0, "a": 0.0, "z": 9.0}, 2: {"a": 0.0}}
    paired = crossed(first, second)
    assert paired is not None
    assert paired.tolist() == [[1.0, 4.0]]
    assert crossed(first) is not None
    assert np.array_equal(crossed(first), [[1.0, 2.0], [1.0, 5.0]])  # type: ignore[arg-type]
    assert crossed(first, {7: {"a": 1.0}}) is None
    assert crossed({0: {"a": 1.0}}, {0: {"b": 1.0}}) is None


def coverage(seeds: int, sigma: tuple[float, float, float], tables: int = 600) -> float:
    """How often the interval of a drawn table of 24 patients holds the true mean, 0."""
    rng = np.random.default_rng(4)
    hit = 0
    for _ in range(tables):
        table = (
            sigma[0] * rng.normal(size=(seeds, 1))
            + sigma[1] * rng.normal(size=(1, 24))
            + sigma[2] * rng.normal(size=(seeds, 24))
        )
        found = mean(table)
        assert found.low is not None
        assert found.high is not None
        hit += found.low <= 0 <= found.high
    return hit / tables


@pytest.mark.parametrize(
    ("seeds", "sigma", "low", "high"),
    [
        (2, (1.0, 0.3, 0.3), 0.85, 1.0),
        (3, (1.0, 0.3, 0.3), 0.92, 0.99),  # seeds differ most
        (3, (1.0, 0.0, 0.5), 0.92, 0.99),  # what pairing leaves
        (3, (0.3, 1.0, 0.5), 0.92, 0.99),  # patients differ most
        (10, (1.0, 1.0, 1.0), 0.92, 0.99),
        (3, (0.0, 0.0, 1.0), 0.93, 1.0),
    ],
)
def test_coverage_on_drawn_data(seeds: int, sigma: tuple[float, float, float], low: float, high: float) -> None:
    assert low <= coverage(seeds, sigma) <= high


def test_correlation_is_pearsons_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(55, 12, size=40)
    prediction = truth + rng.normal(0, 5, size=(3, 40))
    found = correlation(truth, prediction)
    assert found is not None
    known = [bland_altman(truth, row) for row in prediction]
    assert found.value == pytest.approx(np.mean([item.r for item in known if item]))  # type: ignore[misc]
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high <= 1
    assert correlation(truth, np.full((2, 40), 50.0)) is None
    assert correlation(truth, prediction) == found


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 3)), np.array([[np.nan, 1.0]])])
def test_bad_tables_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="figures"):
        mean(values)


def test_truth_and_prediction_are_of_the_same_patients() -> None:
    with pytest.raises(ValueError, match="same patients"):
        correlation(np.zeros(4), np.zeros((2, 3)))


@settings(deadline=None, max_examples=50)
@given(values=arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(-100, 100)))
def test_the_interval_of_the_median_is_of_values_around_it(values: np.ndarray) -> None:
    centre, low, high = median(values)
    assert centre == np.median(values)
    assert (low is None) == (high is None) == (len(values) < 6)
    if low is not None and high is not None:
        assert low <= centre <= high
        assert {low, high} <= set(values.tolist())
        k = int((np.sort(values) < low).sum())
        assert k <= len(values) // 2


@pytest.mark.parametrize("count", [6, 15, 40])
def test_the_interval_of_the_median_holds_it_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(count)
    drawn = [median(rng.exponential(size=count)) for _ in range(2000)]
    held = np.mean([low is not None and high is not None and low <= np.log(2) <= high for _, low, high in drawn])
    assert 0.94 <= held <= 0.99


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan]])
def test_a_median_of_nothing_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values in one row"):
        median(np.array(values))
