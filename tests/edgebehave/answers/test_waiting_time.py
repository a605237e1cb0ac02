"""Waiting times as a finite distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.answers.waiting_time import WaitingTime


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
