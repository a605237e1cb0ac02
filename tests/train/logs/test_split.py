"""Splits: parts that cover every event once, in time order, by the same rule for every user."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave_train.logs.split import TEST, TRAIN, VALIDATION, SplitConfig, part_bounds, part_of_event

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=30)
shares = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).filter(lambda s: sum(s) < 0.99)


def store_of(num_events):
    """All that a split reads of a store."""
    user_start = np.concatenate([[0], np.cumsum(num_events)]).astype(np.int64)
    return SimpleNamespace(user_start=user_start, num_users=len(num_events))


def test_ten_events_divide_seven_one_two():
    bounds = part_bounds(store_of([10, 20]), SplitConfig())
    assert bounds.tolist() == [[0, 7, 8, 10], [10, 24, 26, 30]]


@pytest.mark.parametrize(
    ("num_events", "parts"),
    [(1, [0]), (2, [0, 0]), (3, [0, 0, 0]), (4, [0, 0, 0, 1]), (5, [0, 0, 0, 0, 2])],
)
def test_event_i_of_n_trains_if_its_share_is_below(num_events, parts):
    # i / n < 0.7 trains, < 0.8 validates.
    assert part_of_event(store_of([num_events]), SplitConfig()).tolist() == parts


@given(lengths, shares, st.sampled_from(["time", "user"]))
def test_parts_cover_every_user_in_order(num_events, share, by):
    store = store_of(num_events)
    config = SplitConfig(by=by, train=share[0], validation=share[1], seed=3)
    bounds = part_bounds(store, config)
    assert (np.diff(bounds, axis=1) >= 0).all()
    assert (bounds[:, 0] == store.user_start[:-1]).all()
    assert (bounds[:, 3] == store.user_start[1:]).all()
    parts = part_of_event(store, config)
    assert len(parts) == store.user_start[-1]
    for (start, train, validation, stop), user in zip(bounds, range(store.num_users), strict=True):
        of_user = parts[store.user_start[user] : store.user_start[user + 1]]
        assert (np.diff(of_user) >= 0).all(), "a later event in an earlier part"
        assert np.bincount(of_user, minlength=3).tolist() == [
            train - start, validation - train, stop - validation
        ]  # fmt: skip


@given(lengths, shares)
def test_by_time_follows_the_stated_rule(num_events, share):
    config = SplitConfig(train=share[0], validation=share[1])
    parts = part_of_event(store_of(num_events), config)
    position = np.concatenate([np.arange(n) / n for n in num_events])
    near_cut = np.abs(position[:, None] - [share[0], sum(share)]).min(1) < 1e-6
    expected = np.where(position < share[0], TRAIN, np.where(position < sum(share), VALIDATION, TEST))
    assert (parts == expected)[~near_cut].all()


def test_by_user_keeps_users_whole_and_shares_close():
    store = store_of([3] * 1000)
    parts = part_of_event(store, SplitConfig(by="user", seed=1)).reshape(1000, 3)
    assert (parts == parts[:, :1]).all()
    assert np.bincount(parts[:, 0]).tolist() == [700, 100, 200]


def test_by_user_is_drawn_by_the_seed():
    store = store_of([2] * 200)
    first, again, other = (part_of_event(store, SplitConfig(by="user", seed=seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"by": "day"}, "by must be 'time' or 'user', got 'day'"),
        ({"train": 0.0}, r"must lie in \(0, 1\), got 0.0 and 0.1"),
        ({"validation": 1.0}, r"must lie in \(0, 1\), got 0.7 and 1.0"),
        ({"train": 0.9, "validation": 0.1}, r"below 1 to leave a test part, got 0.9 \+ 0.1"),
    ],
)
def test_a_split_that_cannot_be_names_the_field(fields, message):
    with pytest.raises(ValueError, match=message):
        SplitConfig(**fields)
