"""Intervals over seeds, against tables."""

import math
import statistics

import pytest

from edgebehave_train.metrics.seed_intervals import mean_interval, mean_text


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
    assert mean_text([math.nan, math.nan]) == ""


@pytest.mark.parametrize(("num", "t"), [(2, 12.7062), (3, 4.3027), (5, 2.7764), (31, 2.0423)])
def test_the_factor_is_that_of_the_tables(num, t):
    values = [0.0, 1.0] * (num // 2) + [0.5] * (num % 2)
    width = t * statistics.stdev(values) / math.sqrt(num)
    assert mean_interval(values)[1] == pytest.approx(width, rel=1e-4)


def test_a_mean_as_text():
    assert mean_text([1.0, 2.0, 3.0]) == "2.000 ± 2.484"
    assert mean_text([0.25], digits=1, sign="+") == "+0.2"
