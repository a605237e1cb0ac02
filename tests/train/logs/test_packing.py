"""Packed rows: nothing lost, nothing twice, every user in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave_train.logs.packing import pack_rows, share_of_ranges

lengths_of_users = st.lists(st.integers(0, 30), max_size=15)
row_lengths = st.integers(1, 40)
seeds = st.none() | st.integers(0, 1000)


def ranges_of(lengths) -> np.ndarray:
    """Ranges with a gap of two events between users, as the later parts of a log leave it."""
    stop = np.cumsum(np.array(lengths, np.int64) + 2)
    return np.stack([stop - 2 - np.array(lengths, np.int64), stop - 2], 1).reshape(-1, 2)


def packed(lengths, row_events, seed, cut):
    rng = None if seed is None else np.random.default_rng(seed)
    return pack_rows(ranges_of(lengths), row_events, rng, cut)


@given(lengths_of_users, row_lengths, seeds, st.booleans())
def test_every_event_is_in_one_row_and_users_keep_their_order(lengths, row_events, seed, cut):
    rows = packed(lengths, row_events, seed, cut)
    flat = np.concatenate([np.zeros(0, np.int64), *rows])
    of_users = [np.arange(start, stop) for start, stop in ranges_of(lengths)]
    assert sorted(flat.tolist()) == [e for user in of_users for e in user.tolist()]
    for user in of_users:
        inside = flat[np.isin(flat, user)]
        assert inside.tolist() == user.tolist()
        where = np.flatnonzero(np.isin(flat, user))
        assert (np.diff(where) == 1).all(), "the events of a user are adjacent"


@given(lengths_of_users, row_lengths, seeds)
def test_rows_that_cut_are_full_but_for_the_last(lengths, row_events, seed):
    rows = packed(lengths, row_events, seed, cut=True)
    assert all(len(row) == row_events for row in rows[:-1])
    assert len(rows) == -(-sum(lengths) // row_events)
    assert all(0 < len(row) <= row_events for row in rows[-1:])


@given(lengths_of_users, row_lengths, seeds)
def test_rows_that_do_not_cut_hold_whole_users(lengths, row_events, seed):
    rows = packed(lengths, row_events, seed, cut=False)
    users_of_row = [{int(np.searchsorted(ranges_of(lengths)[:, 1], e, side="right")) for e in row} for row in rows]
    assert sum(map(len, users_of_row)) == sum(length > 0 for length in lengths)
    assert all(len(row) < row_events + max(lengths) for row in rows)


def test_rows_by_hand():
    # Users of 3, 4, 0, 2 events at 0.., 5.., 11.., 13...
    rows = packed([3, 4, 0, 2], 4, None, cut=True)
    assert [row.tolist() for row in rows] == [[0, 1, 2, 5], [6, 7, 8, 13], [14]]
    rows = packed([3, 4, 0, 2], 4, None, cut=False)
    assert [row.tolist() for row in rows] == [[0, 1, 2], [5, 6, 7, 8], [13, 14]]


@pytest.mark.parametrize("cut", [True, False])
def test_ranges_that_end_before_they_begin_are_empty(cut):
    # A user of one event has nothing before its last one; of none, less than nothing.
    ranges = np.array([[0, 2], [2, 1], [2, 2], [2, 5]])
    rows = pack_rows(ranges, 3, cut=cut)
    assert np.concatenate(rows).tolist() == [0, 1, 2, 3, 4]


def test_the_seed_decides_the_order():
    lengths = list(range(1, 12))
    one, same, other = (packed(lengths, 9, seed, cut=True) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_empty_log_has_no_rows():
    assert packed([], 4, 0, cut=True) == []
    assert packed([0, 0], 4, None, cut=False) == []


def test_share_of_ranges_is_nested_and_keeps_to_its_size() -> None:
    ranges = np.array([[0, 400], [400, 410], [500, 1000]])
    shares = {
        share: set(np.concatenate([np.arange(a, b) for a, b in share_of_ranges(ranges, share, 3)]).tolist())
        for share in (0.001, 0.1, 0.5)
    }
    assert shares[0.001] <= shares[0.1] <= shares[0.5]
    assert 1 <= len(shares[0.001]) <= 60
    assert 91 <= len(shares[0.1]) < 91 + 60
    assert not any(410 <= event < 500 for event in shares[0.5])


def test_share_of_one_is_everything() -> None:
    ranges = np.array([[0, 400], [400, 400]])
    np.testing.assert_array_equal(share_of_ranges(ranges, 1.0, 0), ranges)
