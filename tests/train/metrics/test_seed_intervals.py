"""Intervals over seeds, against tables and SciPy."""

import math

import pytest

from edgebehave_train.metrics.seed_intervals import mean_interval, mean_text, t_distribution, t_quantile


def test_three_runs_by_hand():
    # s = 1, t(0.975, 2) = 4.3027: 4.3027 / sqrt(3)
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2.48414), rel=1e-5)
    assert mean_interval([0.5, 0.5]) == (0.5, 0)


def test_one_run_has_a_mean_and_no_width():
    mean, half_width = mean_interval([0.3])
    assert mean == 0.3
    assert math.isnan(half_width)
    with pytest.raises(ValueError, match="at least one run"):
        mean_interval([])


def test_a_metric_without_targets_has_no_mean_and_no_width():
    assert all(map(math.isnan, mean_interval([math.nan, math.nan])))
    assert all(map(math.isnan, mean_interval([0.5, math.nan, 0.5])))
    assert mean_text([math.nan, math.nan]) == "nan"


@pytest.mark.parametrize(("degrees", "t"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423)])
def test_quantiles_are_those_of_the_tables(degrees, t):
    assert t_quantile(0.975, degrees) == pytest.approx(t, rel=1e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 6, 9, 40])
def test_the_distribution_is_scipys(degrees):
    stats = pytest.importorskip("scipy.stats", reason="SciPy comes with the dev extra alone")
    for t in (0.0, 0.4, 1.3, 5.0):
        assert t_distribution(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), rel=1e-9)


def test_a_mean_as_text():
    assert mean_text([1.0, 2.0, 3.0]) == "2.000 ± 2.484"
    assert mean_text([0.25], digits=1, sign="+") == "+0.2"
