"""Waiting times as a finite distribution, and the hours of the day that shape it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.answers.waiting_time import CLOCK_SHRINKAGE, WaitingTime, clock_rates, shares_in_bins


def waits(*pairs):
    gap_s, probs = zip(*pairs, strict=True)
    return WaitingTime(gap_s=np.array(gap_s, np.float32), probs=np.array(probs, np.float32))


def test_what_has_not_come_by_now_is_conditioned_on():
    gap = waits((600, 0.1), (60, 0.6), (3600, 0.3))  # in any order
    assert gap.nothing_within(0, 59) == pytest.approx(1)
    assert gap.nothing_within(0, 60) == pytest.approx(0.4)
    assert gap.nothing_within(60, 600) == pytest.approx(0.3 / 0.4)
    assert gap.nothing_within(600, 3000) == 0
    assert gap.nothing_within(7200, 60) == 1  # longer than anything that is possible


def test_the_median_is_that_of_what_comes_in_time():
    gap = waits((600, 0.1), (60, 0.6), (3600, 0.3))
    assert gap.median(0, 10_000) == 60
    assert gap.median(60, 10_000) == 3600
    assert gap.median(60, 700) == 600
    assert gap.median(700, 900) == 800  # nothing there: the middle


@given(
    pairs=st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.01, 1)), min_size=1),
    waited=st.integers(0, 10**6),
    parts=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
)
def test_waiting_in_two_parts_is_waiting(pairs, waited, parts):
    gap = waits(*pairs)
    first, second = parts
    whole = gap.nothing_within(waited, first + second)
    assert 0 <= whole <= gap.nothing_within(waited, first) <= 1
    in_two = gap.nothing_within(waited, first) * gap.nothing_within(waited + first, second)
    assert in_two == pytest.approx(whole, abs=1e-6)
    assert waited <= gap.median(waited, waited + first) <= waited + first


def test_what_is_drawn_comes_after_the_second_of_now():
    gap = waits((100.4, 0.5), (100.9, 0.3), (101.2, 0.2))
    assert {gap.draw(pick, 100) for pick in (0, 0.5, 0.99)} == {101}
    assert {gap.draw(pick, 99) for pick in (0, 0.79)} == {100}
    assert gap.draw(0.9, 99) == 101
    assert gap.draw(0.5, 101) == 102  # nothing longer is possible: a second longer
    assert gap.draw(0, 0) == 100


THURSDAY_NOON_S, SATURDAY_NOON_S = 1_767_268_800, 1_767_441_600  # 2026-01-01 and 2026-01-03, UTC


def test_clock_rates_by_hand():
    """Two behaviors on a workday at 12:00, one on a weekend; the fourth column holds none."""
    time_s = np.array([[THURSDAY_NOON_S, THURSDAY_NOON_S + 60, SATURDAY_NOON_S, SATURDAY_NOON_S]])
    is_there = np.array([[True, True, True, False]])
    prior = np.full((2, 48), 1 / 48)
    rate_DS = clock_rates(time_s, np.zeros_like(time_s), is_there, prior)[0]
    other = CLOCK_SHRINKAGE / 48
    workday, weekend = 2 + CLOCK_SHRINKAGE, 1 + CLOCK_SHRINKAGE
    around_noon = np.array([other, 0.5 + other, 1 + other, 0.5 + other])
    assert rate_DS[0, [22, 23, 24, 25]] == pytest.approx(around_noon / workday)
    assert rate_DS[1, [23, 24, 25]] == pytest.approx(np.array([0.25 + other, 0.5 + other, 0.25 + other]) / weekend)
    assert rate_DS.sum(1) == pytest.approx([1, 1])


def test_shares_follow_the_local_half_hour_in_which_a_gap_ends():
    rate_DS = np.full((2, 48), 0.25)
    rate_DS[0, 26] = 0.75  # 13:00 on workdays
    gaps_BQ = np.array([[1800, 3600], [2 * 3600, 3 * 3600]])
    start_s, utc = np.array([THURSDAY_NOON_S]), np.array([0])
    assert shares_in_bins(rate_DS[None], start_s, utc, gaps_BQ)[0].tolist() == [[0.25, 0.75], [0.5, 0.5]]
    an_hour_west = np.array([-60])
    assert shares_in_bins(rate_DS[None], start_s, an_hour_west, gaps_BQ)[0].tolist() == [[0.5, 0.5], [0.75, 0.25]]


def test_shares_keep_the_mass_of_each_bin_and_all_other_gaps():
    gap = waits((10, 0.1), (20, 0.3), (100, 0.2), (200, 0.2), (7, 0.2))
    shaped = gap.in_hours(np.array([[0.5, 0.5], [1.0, 0.0]]))
    assert shaped.probs == pytest.approx([0.2, 0.2, 0.4, 0.0, 0.2])
    assert shaped.gap_s is gap.gap_s
