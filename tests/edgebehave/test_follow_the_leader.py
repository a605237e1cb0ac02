"""Follow the leader against numbers worked by hand and a slow, obvious version."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.follow_the_leader import PREDICTORS, FollowTheLeader


def test_rankings_by_hand():
    counted = FollowTheLeader([1, 2, 1, 2, 1, 3])
    # Now after 3, which nothing has followed yet; 1 came three times, 2 twice, 3 once.
    assert counted.ranking("most_recently_used") == [3, 1, 2]
    assert counted.ranking("markov_0") == [1, 2, 3]
    assert counted.ranking("markov_1") == [1, 2, 3]
    counted.observe(1)
    # After 1 came 2 twice and 3 once; after 3, 1 nothing yet.
    assert counted.ranking("markov_1") == [2, 3, 1]
    assert counted.ranking("markov_2") == [2, 3, 1]
    counted.observe(3)
    # After 1, 3 came 1, and after 3 too; the others by their number: 1 four times, 2 and 3 twice, 3 later.
    assert counted.ranking("markov_2") == counted.ranking("markov_1") == [1, 3, 2]


def test_of_equal_counts_the_latest_comes_first():
    counted = FollowTheLeader([1, 2, 1, 3, 1])
    assert counted.ranking("markov_1") == [3, 2, 1]
    assert counted.ranking("markov_0") == [1, 3, 2]


def test_hits_by_hand_and_the_leader():
    counted = FollowTheLeader([5])
    assert counted.hits == [0] * 5  # before the first behavior nothing is predicted
    counted.observe(5)
    assert counted.hits == [1] * 5  # all say what there is
    counted.observe(6)
    assert counted.hits == [1] * 5
    counted.observe(6)  # the most recent one is right; chains say 5: it came twice, and nothing has followed 6
    assert counted.hits == [2, 1, 1, 1, 1]
    assert PREDICTORS[counted.leader()] == "most_recently_used"
    assert counted.ranking() == [6, 5]


def test_equal_leaders_have_an_order():
    counted = FollowTheLeader([1])
    assert PREDICTORS[counted.leader()] == "markov_2"
    for hits, leader in (([2, 2, 2, 1, 2], "markov_1"), ([2, 2, 1, 1, 2], "markov_0"), ([2, 1, 1, 1, 2], "markov_3")):
        counted.hits = hits
        assert PREDICTORS[counted.leader()] == leader


def test_without_a_past_there_is_no_candidate():
    assert FollowTheLeader().ranking() == []
    with pytest.raises(ValueError, match=r"predictor must be one of .*, got 'markov_9'"):
        FollowTheLeader().ranking("markov_9")


def slow_ranking(past: list[int], predictor: str) -> list[int]:
    latest_first = list(dict.fromkeys(reversed(past)))
    if predictor == "most_recently_used":
        return latest_first
    ranked: list[int] = []
    for order in range(int(predictor[-1]), -1, -1):
        context = past[len(past) - order :] if order else []
        if len(past) < order:
            continue
        came = Counter(past[j] for j in range(order, len(past)) if past[j - order : j] == context)
        ranked += sorted((b for b in came if b not in ranked), key=lambda b: (-came[b], latest_first.index(b)))
    return ranked


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_equal_to_the_slow_version(past):
    counted = FollowTheLeader(past)
    hits = dict.fromkeys(PREDICTORS, 0)
    for j in range(1, len(past)):
        for predictor in PREDICTORS:
            hits[predictor] += slow_ranking(past[:j], predictor)[0] == past[j]
    for predictor in PREDICTORS:
        assert counted.ranking(predictor) == slow_ranking(past, predictor)
    assert counted.hits == list(hits.values())
    preferred = ("markov_2", "markov_1", "markov_0", "markov_3", "most_recently_used")
    assert PREDICTORS[counted.leader()] == max(preferred, key=hits.__getitem__)  # the first of the best
    assert counted.ranking() == slow_ranking(past, PREDICTORS[counted.leader()])
