import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memx.metrics import agreement, intraclass_correlation

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Six subjects and four judges: table 2 of Shrout and Fleiss, 1979, whose table 4 gives ICC(2,1) = .29."""


def test_the_table_of_shrout_and_fleiss():
    found = intraclass_correlation(SHROUT_FLEISS)
    assert found is not None
    assert found.value == pytest.approx(0.29, abs=0.005)
    # Mean squares of their table 3: 11.24 between subjects, 32.49 between judges, 1.02 residual.
    assert found.value == pytest.approx((11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 * (32.49 - 1.02) / 6), abs=1e-3)
    # The interval that R's psych::ICC and others give for it.
    assert found.interval == pytest.approx((0.019, 0.761), abs=1e-3)
    assert found.level == 0.95


def test_a_constant_difference_lowers_it_and_not_pearsons_r():
    """Subjects 0, 2, 4 and the same plus 2: MSR 8, MSC 6, MSE 0, so that 8 / (8 + 2 · 6 / 3) = 2/3."""
    found = agreement([0, 2, 4], [2, 4, 6])
    assert found is not None
    assert found.icc == pytest.approx(2 / 3)
    assert found.r == pytest.approx(1)
    assert found.bias == 2
    assert found.icc_interval is not None


def test_perfect_agreement_has_no_interval_and_no_difference_no_figure():
    found = intraclass_correlation([[1, 1], [2, 2], [4, 4]])
    assert found is not None
    assert found.value == pytest.approx(1)
    assert found.interval is None
    assert intraclass_correlation([[3, 3], [3, 3]]) is None
    assert intraclass_correlation([[3, 4]]) is None
    assert intraclass_correlation([[5.0, 6.0], [6.0, 5.0]]) is None


@given(st.integers(0, 2**32 - 1), st.integers(3, 20), st.integers(2, 5), st.floats(0.1, 10), st.floats(-50, 50))
@settings(deadline=None, max_examples=50)
def test_from_the_sums_of_squares_and_whatever_the_unit(seed, n, k, factor, shift):
    generator = np.random.default_rng(seed)
    table = generator.normal(0, 2, (n, 1)) + generator.normal(0, 1, (1, k)) + generator.normal(0, 1, (n, k))
    found = intraclass_correlation(table)
    assert found is not None
    total = table.var() * n * k
    between, judges = k * table.mean(1).var() * n, n * table.mean(0).var() * k
    msr, msc = between / (n - 1), judges / (k - 1)
    mse = (total - between - judges) / ((n - 1) * (k - 1))
    assert found.value == pytest.approx((msr - mse) / (msr + (k - 1) * mse + k / n * (msc - mse)))
    if found.interval is None:
        assert found.value < 0
    else:
        assert found.interval[0] <= found.value <= found.interval[1]
    again = intraclass_correlation(factor * table + shift)
    assert again is not None
    assert again.value == pytest.approx(found.value)


def test_the_interval_covers_the_true_value():
    """Variances 4 of subjects, 0.25 of ways and 1 of the rest: ICC = 4 / 5.25. Of 300 cohorts about 95% cover it."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        ways = generator.normal(0, 0.5, (1, 4))
        found = intraclass_correlation(generator.normal(0, 2, (25, 1)) + ways + generator.normal(0, 1, (25, 4)))
        assert found is not None
        assert found.interval is not None
        covered += found.interval[0] <= 4 / 5.25 <= found.interval[1]
    assert 0.91 <= covered / 300 <= 0.99


def test_refuses_what_is_no_table():
    with pytest.raises(ValueError, match=r"wants finite figures \(n, k\)"):
        intraclass_correlation([1.0, 2.0])
    with pytest.raises(ValueError, match="wants finite"):
        intraclass_correlation([[1.0, float("nan")], [1.0, 2.0]])
    with pytest.raises(ValueError, match="level is 95"):
        intraclass_correlation(SHROUT_FLEISS, level=95)
