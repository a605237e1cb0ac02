import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebehave_train.llm.tuning.balanced_selection import SelectionConfig, kinds_of, select_balanced

ANCHORS = np.array([False, True, True, False, False, False])  # 1 and 2; the tail is 3, 4, 5
# Lists are drawn slowly on a busy machine, which says nothing about what is tested.
UNHURRIED = settings(suppress_health_check=[HealthCheck.too_slow])


def select(truth, predicted, seed=0, anchors=ANCHORS, **settings):
    predicted = np.array(predicted)
    config = SelectionConfig(**settings)
    return select_balanced(np.array(truth), lambda i: predicted[i], anchors, config, np.random.default_rng(seed))


def test_kinds_by_hand():
    truth = np.array([1, 1, 1, 3, 3, 3])
    predicted = np.array([1, 2, 3, 1, 3, 4])
    assert kinds_of(truth, predicted, ANCHORS).tolist() == [2, 0, 1, 1, 2, 0]
    assert kinds_of(truth, predicted, ANCHORS, same_category=False).tolist() == [2, 0, 0, 0, 2, 0]


def test_hard_ones_come_first_then_the_stated_order():
    #        0  1  2  3  4  5 | 6  7  8  9
    truth = [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]
    guess = [1, 2, 3, 2, 1, 4, 4, 1, 3, 3]
    found = select(truth, guess, per_behavior=2)
    assert set(found.index[:2]) == {1, 3}
    assert found.index[2:].tolist() == [6, 7]
    assert found.kinds.tolist() == [[0] * 3, [2, 0, 0], [0] * 3, [1, 1, 0], [0] * 3, [0] * 3]
    assert found.missing == (2, 4, 5)
    found = select(truth, guess, per_behavior=4)
    assert set(found.index[:4]) == {1, 3, 2, 5}
    assert found.num_repeats == 0
    without = select(truth, guess, per_behavior=4, same_category=False)
    assert set(without.index[:4]) == {1, 2, 3, 5}
    assert without.kinds[1].tolist() == [4, 0, 0]


def test_too_few_samples_are_repeated_evenly_hard_ones_more():
    found = select([3, 3, 3], [3, 4, 1], per_behavior=7)
    assert found.index[:3].tolist() == [1, 2, 0]
    assert np.bincount(found.index).tolist() == [2, 3, 2]
    assert found.num_repeats == 4


def test_uniform_asks_for_no_prediction():
    config = SelectionConfig(per_behavior=2, by="uniform")
    truth = np.array([1] * 50 + [3])

    def never(index):
        raise AssertionError

    found = select_balanced(truth, never, ANCHORS, config, np.random.default_rng(0))
    assert truth[found.index].tolist() == [1, 1, 3, 3]
    assert found.num_predicted == 0


def test_few_predictions_are_asked_for_where_the_model_is_wrong():
    truth = np.array([1] * 1000 + [3] * 1000)
    guess = np.array([1] * 1000 + [4] * 1000)  # anchors right, the tail all wrong
    found = select(truth, guess, per_behavior=20, pool=10)
    assert found.num_predicted == 200 + 20


def test_one_category_is_no_condition():
    truth, guess = [1, 1, 2, 2], [2, 1, 1, 2]
    for all_or_none in (True, False):
        anchors = np.full(6, all_or_none)
        found = select(truth, guess, anchors=anchors, per_behavior=1)
        assert found.index.tolist() == [0, 2]
        assert found.kinds[:, 1].sum() == 0


@st.composite
def logs(draw):
    num_behaviors = draw(st.integers(2, 7))
    behavior = st.integers(1, num_behaviors - 1)
    pairs = draw(st.lists(st.tuples(behavior, behavior), max_size=60))
    anchors = draw(st.lists(st.booleans(), min_size=num_behaviors, max_size=num_behaviors))
    truth, predicted = np.array(pairs, np.int64).reshape(-1, 2).T
    return truth, predicted, np.array(anchors)


@UNHURRIED
@given(
    logs(),
    st.integers(1, 6),
    st.integers(1, 12),
    st.sampled_from(["difficulty", "uniform"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_it_is_balanced_and_as_hard_as_can_be(log, per_behavior, pool, by, same_category, seed):
    truth, predicted, anchors = log
    config = SelectionConfig(per_behavior=per_behavior, by=by, same_category=same_category, pool=pool)
    asked = []

    def predict(index):
        asked.extend(index.tolist())
        return predicted[index]

    found = select_balanced(truth, predict, anchors, config, np.random.default_rng(seed))
    assert len(asked) == len(set(asked)) == found.num_predicted
    total = np.bincount(truth, minlength=len(anchors))
    taken = np.bincount(truth[found.index], minlength=len(anchors))
    assert taken.tolist() == [per_behavior * (n > 0) for n in total]
    assert found.missing == tuple(b for b in range(1, len(anchors)) if not total[b])
    for b in range(1, len(anchors)):
        mine = found.index[truth[found.index] == b]
        times = np.bincount(mine, minlength=len(truth))[truth == b]
        if total[b] >= per_behavior:
            assert times.max(initial=0) <= 1
        elif len(times):
            assert times.max() - times.min() <= 1
        if by == "uniform" or pool * per_behavior < total[b]:
            continue
        # The whole of the behavior could be looked at: no harder sample is left out.
        kind = kinds_of(truth, predicted, anchors, same_category)
        wanted = np.sort(kind[truth == b])[:per_behavior]
        assert sorted(set(kind[mine])) == sorted(set(wanted))
        if total[b] >= per_behavior:
            assert np.sort(kind[mine]).tolist() == wanted.tolist()
            assert found.kinds[b].tolist() == np.bincount(wanted, minlength=3).tolist()


@UNHURRIED
@given(logs(), st.integers(1, 4), st.integers(0, 9))
def test_rounds_find_what_looking_at_all_finds(log, per_behavior, seed):
    """Predictions asked for in rounds choose the samples that all predictions at once would."""
    truth, predicted, anchors = log
    config = SelectionConfig(per_behavior=per_behavior, pool=100)
    found = select_balanced(truth, lambda i: predicted[i], anchors, config, np.random.default_rng(seed))
    order = np.random.default_rng(seed).permutation(len(truth))
    kind = kinds_of(truth, predicted, anchors)
    wanted = []
    for b in range(len(anchors)):
        mine = order[truth[order] == b]
        if len(mine):
            mine = mine[np.argsort(kind[mine], kind="stable")]
            wanted += np.resize(mine, per_behavior).tolist()
    assert found.index.tolist() == wanted


@pytest.mark.parametrize("wrong", [{"per_behavior": 0}, {"pool": 0}, {"by": "chance"}], ids=str)
def test_a_config_is_checked(wrong):
    with pytest.raises(ValueError, match=f"selection: {next(iter(wrong))} must"):
        SelectionConfig(**wrong)
