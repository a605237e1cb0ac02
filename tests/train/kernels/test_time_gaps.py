"""Waiting times: bins, the values in them, and the distribution with its survival function."""

import numpy as np
import pytest

from edgebehave_train.kernels.time_gaps import (
    LONGEST_GAP_S,
    NUM_BINS,
    NUM_PACES,
    NUM_QUANTILES,
    GapDistribution,
    bin_of_gap,
    gap_at,
    gaps_in_bins,
    pace_of_bin,
)


def test_an_edge_opens_its_bin_and_every_wait_has_one():
    assert bin_of_gap(gap_at(np.arange(NUM_BINS))).tolist() == list(range(NUM_BINS))
    assert bin_of_gap([-5, 0, LONGEST_GAP_S, 1e12]).tolist() == [0, 0, NUM_BINS - 1, NUM_BINS - 1]
    assert np.all(np.diff(bin_of_gap(np.arange(0, 400_000, 7))) >= 0)
    assert set(pace_of_bin(np.arange(NUM_BINS)).tolist()) == set(range(NUM_PACES))


def test_a_bin_stands_for_the_waits_that_were_seen_in_it():
    values = gaps_in_bins(np.array([3600] * 9 + [3660] + [30 * 86400]))
    hour = int(bin_of_gap(3600))
    assert bin_of_gap(3660) == hour
    assert values[hour].tolist() == [3600] * 14 + [3660] * 2
    unseen = values[int(bin_of_gap(7 * 86400))]
    assert bin_of_gap(unseen).tolist() == [bin_of_gap(7 * 86400)] * NUM_QUANTILES


def test_no_bin_stands_for_a_longer_wait_than_was_seen():
    values = gaps_in_bins(np.array([60, 7200]))
    longer = int(bin_of_gap(7200)) + 1
    assert (values[longer:] == 7200).all()
    assert values.max() == 7200
    assert (gaps_in_bins(np.zeros(0, np.int64)) == 0).all()


@pytest.fixture
def gaps() -> GapDistribution:
    """Half on bin 0, all of it at 10 s; a quarter each on own waits of 100 s and 1000 s."""
    bins = np.zeros((1, NUM_BINS))
    bins[0, 0] = 0.5
    return GapDistribution.of_mixture(
        bins,
        np.full((1, NUM_BINS, NUM_QUANTILES), 1 / NUM_QUANTILES),
        np.full((NUM_BINS, NUM_QUANTILES), 10.0),
        np.array([[0.25, 0.25]]),
        np.array([[100, 1000]]),
    )


def test_survival_falls_from_one_to_nothing(gaps):
    at = [-1, 9, 10, 99, 100, 1000]
    expected = [1, 1, 0.5, 0.5, 0.25, 0]
    assert [float(gaps.survival(t)[0]) for t in at] == pytest.approx(expected)


def test_what_has_passed_without_an_event_is_ruled_out(gaps):
    later = gaps.later_than(np.array([50]))
    assert [float(later.survival(t)[0]) for t in (50, 100, 1000)] == pytest.approx([1, 0.5, 0])
    assert gaps.later_than(np.array([5000])).draw(np.array([0.3])).tolist() == [5001]


def test_draws_follow_the_probabilities(gaps):
    picks = [0.0, 0.49, 0.51, 0.74, 0.76, 0.999]
    drawn = [int(gaps.draw(np.array([pick]))[0]) for pick in picks]
    assert drawn == [10, 10, 100, 100, 1000, 1000]
