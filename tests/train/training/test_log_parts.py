"""The parts of a log that a run reads, of two users whose events are counted by hand."""

import numpy as np
import pytest

from edgebehave_train.logs.packing import share_of_ranges
from edgebehave_train.training.log_parts import LogParts, asking_ranges

DAY_S, START_S = 86_400, 1_700_000_000


def log_of(make_store, *users):
    """A store of users whose events are letters, a day apart; "." is an event without a behavior."""
    behavior_of_event = {letter: None if letter == "." else letter for user in users for letter in user}
    rows = [[(START_S + i * DAY_S, letter, None) for i, letter in enumerate(user)] for user in users]
    return make_store(rows, behavior_of_event)


@pytest.fixture(scope="module")
def parts(make_store, recipe):
    # Of 10 events 7 train, 1 validates, 2 test.
    store = log_of(make_store, "ababab.caz", "bacabacbxa")
    return LogParts.of(store, recipe(num_layers=1, window=3))


def test_vocabulary_and_counts_are_those_of_the_training_part(parts):
    # Trained on ababab. and bacabac: a 3 + 3, b 3 + 2, c 2.
    assert parts.vocabulary.behaviors == ("<unknown>", "a", "b", "c")
    assert parts.behavior_counts.tolist() == [0, 6, 5, 2]


def test_events_to_train_on_and_to_validate(parts):
    assert parts.is_target.nonzero()[0].tolist() == [*range(7), *range(10, 17)]
    # The last event of the part has its target in the next part.
    assert parts.train_ranges.tolist() == [[0, 6], [10, 16]]
    assert parts.is_validated.nonzero()[0].tolist() == [7, 17]
    assert parts.validation_targets.event.tolist() == [7, 17]
    assert parts.validation_targets.behavior.tolist() == [3, 2]


def test_validation_reads_one_receptive_field(parts):
    # One layer that looks back on 3 events. Events 5 and 6 (which has no behavior) ask for 7: 5 sees 3, 4, 5.
    # Of user 1, event 16 asks for 17 and sees 14, 15, 16.
    assert parts.validation_ranges.tolist() == [[3, 7], [14, 17]]


def test_ranges_end_with_the_last_event_that_asks():
    next_behavior = np.array([1, 3, 3, 4, -1, 6, -1])
    bounds = np.array([[0, 3, 5, 5], [5, 7, 7, 7]])  # user 0 validates on 3 and 4, user 1 on nothing
    is_asked = np.array([0, 0, 0, 1, 1, 0, 0], bool)
    # Events 1, 2 and 3 ask; the first of them rebuilds its state from 1 event or from all before it.
    assert asking_ranges(next_behavior, is_asked, bounds, 1).tolist() == [[1, 4]]
    assert asking_ranges(next_behavior, is_asked, bounds, 9).tolist() == [[0, 4]]


def test_a_caller_may_choose_targets_and_ranges(make_store, recipe):
    store = log_of(make_store, "abababcbaa", "bacabacbba")
    only = np.zeros(20, bool)
    only[[2, 3, 8]] = True  # 8 lies in the test part, so it is no training target
    chosen = np.array([[0, 4]])
    parts = LogParts.of(store, recipe(), is_target=only, train_ranges=chosen)
    assert parts.is_target.nonzero()[0].tolist() == [2, 3]
    assert parts.train_ranges.tolist() == [[0, 4]]


def test_a_share_of_the_ranges_is_that_of_packing(make_store, recipe):
    store = log_of(make_store, "ab" * 100, "ba" * 100)
    parts = LogParts.of(store, recipe(data_share=0.4, seed=3))
    expected = share_of_ranges(np.array([[0, 139], [200, 339]]), 0.4, 3)
    assert parts.train_ranges.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("users", "changes", "message"),
    [
        (("aaaaaaaaaa",), {}, "holds 1 behaviors; a model needs at least 2"),
        (("a........b", "b........a"), {}, "there is nothing to train on"),
        (("abababazab",), {}, "the validation part holds nothing to predict"),
        (("a" * 200 + "b" * 200,), {"data_share": 0.1}, r"10\.00% of the training part show 1 behaviors"),
    ],
)
def test_a_log_that_leaves_nothing_to_learn_or_to_choose_by_is_refused(make_store, recipe, users, changes, message):
    with pytest.raises(ValueError, match=message):
        LogParts.of(log_of(make_store, *users), recipe(**changes))
