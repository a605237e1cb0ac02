"""Checks of arguments: accepted values come back, others raise an error that names the argument."""

import hashlib

import numpy as np
import pytest

from edgebehave import MemoryHistory, Predictor
from edgebehave.arguments import check_count, check_name, check_share, is_bounded, list_of_names, one_per_row


@pytest.mark.parametrize("name", ["a", "🦊" * 256, "x" * 1024, "\ud800" * 341, "\0"])
def test_names_of_up_to_1024_bytes_pass(name):
    assert check_name(name, "event") == name


@pytest.mark.parametrize("name", ["🦊" * 256 + "x", "x" * 1025, "\ud800" * 342])
def test_longer_names_end_in_a_hash_of_the_whole(name):
    kept = check_name(name, "event")
    assert kept[:201] == name[:200] + "~"
    assert kept[201:] == hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    assert check_name(kept, "event") == kept
    assert check_name(name + "x", "event") != kept
    assert is_bounded(kept)
    assert not is_bounded(name)


def test_counts_are_integers_of_at_least_1():
    assert check_count(1, "k") == 1
    assert type(check_count(np.int32(7), "k")) is int
    for wrong, error in ((0, ValueError), (-1, ValueError), (True, TypeError), (2.0, TypeError), ("3", TypeError)):
        with pytest.raises(error, match="k must be"):
            check_count(wrong, "k")


def test_shares_lie_in_0_to_1():
    assert [check_share(value, "tail") for value in (0, 1, np.float32(0.5))] == [0.0, 1.0, 0.5]
    for wrong, error in ((1.1, ValueError), (float("nan"), ValueError), (True, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="tail must"):
            check_share(wrong, "tail")


def test_lists_arrays_and_tuples_of_names_are_lists():
    assert list_of_names(("a", "b"), "users") == list_of_names(np.array(["a", "b"]), "users") == ["a", "b"]
    with pytest.raises(TypeError, match="users must be a list of names, got one: 'ab'"):
        list_of_names("ab", "users")


def test_one_value_serves_all_rows_and_a_list_one_each():
    assert one_per_row("now", 2, "at") == ["now", "now"]
    assert one_per_row(np.int64(5), 2, "at") == [5, 5]
    assert one_per_row(np.array([5, 6]), 2, "at") == one_per_row((5, 6), 2, "at") == [5, 6]
    with pytest.raises(ValueError, match="at has 3 entries for 2 users"):
        one_per_row([1, 2, 3], 2, "at")


def test_two_halves_of_a_character_are_that_character():
    """Found by fuzzing: an export wrote them as two escapes, which JSON reads as one character."""
    assert check_name("a\ud83d\ude00b", "event") == "a\U0001f600b"
    assert check_name("\ude00\ud83d", "event") == "\ude00\ud83d"
    memory = MemoryHistory()
    predictor = Predictor(history=memory, model="habits")
    predictor.observe("ada", "\ud83d\ude00", at=1_700_000_000)
    predictor.import_user("eve", predictor.export_user("ada"))
    assert predictor.probabilities("eve")[0] == ["\U0001f600"]
