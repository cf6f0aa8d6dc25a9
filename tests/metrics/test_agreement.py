import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from memx.metrics import agreement, patient_bootstrap

percent = st.floats(5, 85).map(lambda value: round(value, 2))


@pytest.mark.filterwarnings("ignore:Precision loss")
@given(st.lists(st.tuples(percent, percent), min_size=1, max_size=30))
@settings(deadline=None, max_examples=60)
def test_agrees_with_scipy(pairs):
    truth, prediction = np.array(pairs).T
    found = agreement(truth.tolist(), prediction.tolist())
    assert found is not None
    assert found.n == len(pairs)
    assert found.mae == pytest.approx(sum(abs(p - t) for t, p in pairs) / len(pairs))
    assert found.bias == pytest.approx((prediction - truth).mean())
    if len(pairs) < 2:
        assert found.sd is found.low is found.high is None
    else:
        assert found.sd == pytest.approx(stats.tstd(prediction - truth), abs=1e-9)
        assert found.high is not None
        assert found.low is not None
        assert (found.high + found.low) / 2 == pytest.approx(found.bias)
    if len(pairs) < 3 or np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        assert found.r is None
    else:
        assert found.r == pytest.approx(stats.pearsonr(truth, prediction).statistic, abs=1e-9)


def test_no_pair_and_no_pairs():
    assert agreement([], []) is None
    with pytest.raises(ValueError, match="they are pairs"):
        agreement([1.0], [])
    with pytest.raises(ValueError, match="not finite"):
        agreement([1.0, 2.0], [1.0, float("nan")])


def test_intervals_by_hand():
    """Errors −1, 0, 1, 4: bias 1, SD √(14/3); t(0.975, 3) = 3.18245, z = 1.95996."""
    truth, prediction = [50.0, 60.0, 55.0, 40.0], [49.0, 60.0, 56.0, 44.0]
    found = agreement(truth, prediction)
    assert found is not None
    sd = (14 / 3) ** 0.5
    assert (found.bias, found.mae, found.sd) == pytest.approx((1, 1.5, sd))
    assert (found.low, found.high) == pytest.approx((1 - 1.96 * sd, 1 + 1.96 * sd))
    assert found.bias_interval == pytest.approx((1 - 3.18245 * sd / 2, 1 + 3.18245 * sd / 2), abs=1e-4)
    half = 3.18245 * sd * (1 / 4 + 1.96**2 / 6) ** 0.5
    assert found.low_interval == pytest.approx((1 - 1.96 * sd - half, 1 - 1.96 * sd + half), abs=1e-4)
    assert found.high_interval == pytest.approx((1 + 1.96 * sd - half, 1 + 1.96 * sd + half), abs=1e-4)
    other = stats.pearsonr(truth, prediction)
    assert found.r == pytest.approx(other.statistic)
    assert found.r_interval == pytest.approx(tuple(other.confidence_interval(0.95)))
    words = found.words("points")
    for part in (
        "n = 4",
        "mean absolute error 1.5 points",
        "bias +1.0 [",
        "SD 2.2 points",
        "limits of agreement −3.2 to",
    ):
        assert part in words


def test_a_perfect_correlation_has_no_interval():
    found = agreement([1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 5.0])
    assert found is not None
    assert (found.r, found.icc) == pytest.approx((1, 1))
    assert found.r_interval is None
    assert found.icc_interval is None
    assert found.bias_interval == (0, 0)


def test_bootstrap_is_repeatable_and_covers_the_mean():
    generator = np.random.default_rng(0)
    values, patients = generator.normal(0.9, 0.03, 60), [f"p{i % 20}" for i in range(60)]
    found = patient_bootstrap(values.tolist(), patients)
    assert found is not None
    assert found == patient_bootstrap(values.tolist(), patients)
    assert found != patient_bootstrap(values.tolist(), patients, seed=1)
    assert found[0] < values.mean() < found[1]


def test_bootstrap_draws_patients_and_not_frames():
    """Ten frames that repeat one figure tell no more than one of them: the interval is as wide as with one each."""
    generator = np.random.default_rng(1)
    means = generator.normal(0.9, 0.05, 12)
    once = patient_bootstrap(means.tolist(), [f"p{i}" for i in range(12)])
    often = patient_bootstrap(np.repeat(means, 10).tolist(), [f"p{i}" for i in range(12) for _ in range(10)])
    assert once is not None
    assert often == pytest.approx(once)


def test_bootstrap_agrees_with_a_loop_over_resampled_patients():
    generator = np.random.default_rng(2)
    patients = [f"p{i}" for i in range(8) for _ in range(i + 1)]
    values = generator.normal(0, 1, len(patients)) + np.array([int(p[1:]) for p in patients])
    groups = [values[np.array(patients) == f"p{i}"] for i in range(8)]
    means = [np.concatenate([groups[i] for i in generator.integers(0, 8, 8)]).mean() for _ in range(4000)]
    found = patient_bootstrap(values.tolist(), patients, draws=4000)
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.15)


def test_one_patient_has_no_interval():
    assert patient_bootstrap([0.9, 0.8], ["a", "a"]) is None
    assert patient_bootstrap([0.9, 0.8], ["a", "b"], draws=0) is None
    with pytest.raises(ValueError, match="draws is -1"):
        patient_bootstrap([0.9, 0.8], ["a", "b"], draws=-1)
    with pytest.raises(ValueError, match="every value has its patient"):
        patient_bootstrap([0.9], [])
