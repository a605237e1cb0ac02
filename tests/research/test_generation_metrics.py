"""The metrics of generated continuations, on numbers worked by hand."""

import numpy as np
import pytest

from edgebehave_train.generation.generation import Continuations
from generation_comparison import mean_over_users
from generation_metrics import (
    METRICS,
    bleu,
    distinct_2,
    jensen_shannon,
    kolmogorov_smirnov,
    per_user,
    pooled,
    relative_score,
    wasserstein,
)


def ids(text: str) -> np.ndarray:
    return np.array([ord(letter) for letter in text])


def futures(behaviors: list[str], gaps_h: list[list[float]]) -> Continuations:
    behavior = np.stack([ids(text) for text in behaviors])
    gap_s = (3600 * np.array(gaps_h)).astype(np.int64)
    return Continuations(
        start_s=np.zeros(len(behavior), np.int64),
        time_s=gap_s.cumsum(1),
        utc_offset_min=np.zeros_like(behavior),
        behavior=behavior,
        event=behavior,
        location=np.ones_like(behavior),
    )


def test_ks_is_the_largest_gap_between_the_distribution_functions():
    assert kolmogorov_smirnov(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6])) == pytest.approx(0.5)


def test_wasserstein_is_how_far_mass_moves():
    assert wasserstein(np.array([0, 1]), np.array([3, 4])) == pytest.approx(3)


def test_jensen_shannon_counts_shared_mass():
    assert jensen_shannon(ids("ab"), ids("cd")) == pytest.approx(1)
    assert jensen_shannon(ids("ab"), ids("ba")) == pytest.approx(0, abs=1e-12)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4)
    expected = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5 * np.log2(2)) / 2
    assert jensen_shannon(ids("aa"), ids("ab")) == pytest.approx(expected)


def test_bleu_by_hand():
    # real abcde, generated abcce: 4 of 5 single ones, and of the pairs ab and bc,
    # of the triples abc, of the quadruples none
    expected = (4 / 5 * (2 + 1) / (4 + 1) * (1 + 1) / (3 + 1) * (0 + 1) / (2 + 1)) ** 0.25
    assert bleu(ids("abcde"), ids("abcce")) == pytest.approx(expected)
    assert bleu(ids("abcde"), ids("abcde")) == pytest.approx(1)
    assert bleu(ids("abcd"), ids("efgh")) == 0


def test_bleu_clips_repetitions():
    # "aaaa" against "abab": two of the four may count
    expected = (2 / 4 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25
    assert bleu(ids("abab"), ids("aaaa")) == pytest.approx(expected)


def test_distinct_2_is_the_share_of_different_pairs():
    assert distinct_2(ids("ababab")) == pytest.approx(2 / 5)
    assert distinct_2(ids("abc")) == 1


def test_diversity_is_a_distance_and_not_a_maximum():
    real = futures(["ababab"], [[1] * 6])
    diverse = per_user(real, futures(["abcdef"], [[1] * 6]))
    dull = per_user(real, futures(["aaaaaa"], [[1] * 6]))
    assert diverse["distinct_2"][0] == pytest.approx(1 - 2 / 5)
    assert dull["distinct_2"][0] == pytest.approx(2 / 5 - 1 / 5)


def test_the_real_continuation_is_perfect():
    real = futures(["abcde", "aabbc"], [[1, 2, 3, 4, 5], [6, 1, 6, 1, 6]])
    for values in (per_user(real, real), pooled(real, real)):
        for name in METRICS:
            perfect = 1 if name == "bleu" else 0
            assert np.asarray(values[name]) == pytest.approx(perfect, abs=1e-9)


def test_swapped_users_show_per_user_and_not_pooled():
    real = futures(["aaaa", "bbbb"], [[1] * 4, [5] * 4])
    swapped = futures(["bbbb", "aaaa"], [[5] * 4, [1] * 4])
    assert per_user(real, swapped)["jensen_shannon"] == pytest.approx([1, 1])
    assert pooled(real, swapped)["jensen_shannon"] == pytest.approx(0, abs=1e-12)
    assert per_user(real, swapped)["ks"] == pytest.approx([1, 1])
    assert pooled(real, swapped)["ks"] == pytest.approx(0)


def test_continuations_of_other_points_are_refused():
    real = futures(["ab"], [[1, 1]])
    with pytest.raises(ValueError, match="same points"):
        per_user(real, futures(["ab", "ab"], [[1, 1], [1, 1]]))
    with pytest.raises(ValueError, match="2 steps"):
        per_user(futures(["a"], [[1]]), futures(["a"], [[1]]))


def test_the_score_is_zero_against_itself_and_grows_with_quality():
    base = {name: np.full(3, 0.5) for name in METRICS}
    better = {name: np.full(3, 1.0 if name == "bleu" else 0.25) for name in METRICS}
    assert relative_score(base, base) == pytest.approx(0)
    assert relative_score(better, base) == pytest.approx(np.log(2))


def test_an_interval_surrounds_its_mean():
    interval = mean_over_users(np.arange(100.0))
    assert interval.value == pytest.approx(49.5)
    assert 42 < interval.low < 49.5 < interval.high < 57
