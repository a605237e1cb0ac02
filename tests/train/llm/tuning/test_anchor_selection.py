import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave_train.llm.prompts.encoding import TokenizedSample
from edgebehave_train.llm.tuning.anchor_selection import (
    anchor_behaviors,
    draw,
    with_auxiliary,
)


def sample(token):
    return TokenizedSample(prompt_ids=[token], answer_ids=[2])


def test_anchors_exceed_the_threshold():
    count = np.array([7, 90, 8, 1, 1])  # of 100: unknown ones do not count
    assert anchor_behaviors(count).tolist() == [False, True, True, False, False]
    assert anchor_behaviors(count, 0.005).tolist() == [False, True, True, True, True]
    assert anchor_behaviors(count, 0.05).tolist() == [False, True, True, False, False]
    assert anchor_behaviors(count, 0.08).tolist() == [False, True, False, False, False]
    with pytest.raises(ValueError, match=r"the most frequent: 90\.00%"):
        anchor_behaviors(count, 0.9)
    with pytest.raises(ValueError, match="threshold must lie in"):
        anchor_behaviors(count, 1.0)


def test_the_ratio_is_a_share_of_the_mixture():
    rng = np.random.default_rng(0)
    for num_samples, ratio, wanted in ((95, 0.05, 5), (80, 0.2, 20), (1000, 0, 0)):
        assert len(with_auxiliary([sample(5)] * num_samples, [sample(6)], ratio, rng)) == num_samples + wanted
    with pytest.raises(ValueError, match="auxiliary ratio"):
        with_auxiliary([sample(5)] * 10, [sample(6)], 1.0, rng)


def test_a_small_corpus_is_used_evenly():
    behaviors, corpus = [sample(5)] * 80, [sample(token) for token in range(10, 18)]
    mixed = with_auxiliary(behaviors, corpus, 0.2, np.random.default_rng(0))
    assert mixed[:80] == behaviors
    used = [one.prompt_ids[0] for one in mixed[80:]]
    assert len(used) == 20
    counts = np.bincount(used, minlength=18)[10:]
    assert set(counts) == {2, 3}
    assert with_auxiliary(behaviors, [], 0, np.random.default_rng(0)) == behaviors
    with pytest.raises(ValueError, match="no conversation"):
        with_auxiliary(behaviors, [], 0.05, np.random.default_rng(0))


@given(st.sets(st.integers(0, 99)), st.integers(0, 120), st.integers(0, 5))
def test_a_draw_takes_no_more_than_there_is(index, at_most, seed):
    index = np.array(sorted(index), np.int64)
    drawn = draw(index, at_most, np.random.default_rng(seed))
    assert len(drawn) == min(at_most, len(index))
    assert set(drawn) <= set(index)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
