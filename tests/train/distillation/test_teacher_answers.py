"""A teacher's answers: who is asked, that none is lost or asked twice, whose names they have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.distillation import teacher_answers
from edgebehave_train.distillation.teacher_answers import TeacherAnswers, choose_targets, collect_answers
from edgebehave_train.distillation.teachers import Teacher
from edgebehave_train.files import read_tensors, write_tensors

NAMES = ["<unknown>", "read", "walk", "eat"]
EVENT = np.array([3, 5, 8, 13, 21])
EVERY = np.ones(2400, bool)


class Stop(Exception):  # noqa: N818  a signal of the test, not an error
    pass


def answer_at(event):
    """A distribution that tells its target."""
    return np.array([0.0, event, 2 * event, 1.0]) / (3 * event + 1)


class Counting:
    """Scores targets and remembers which."""

    def __init__(self):
        self.asked = []

    def __call__(self, event):
        self.asked += event.tolist()
        return np.stack([answer_at(one) for one in event])


def teacher(score=None, names=NAMES, card=None):
    return Teacher(
        behaviors=names,
        can_answer=EVERY,
        score=score or Counting(),
        card=card or {"name": "T"},
        at_a_time=2,
    )


def vocabulary(*behaviors):
    return Vocabulary(
        events=["<unknown>", *behaviors],
        locations=["<unknown>"],
        behaviors=["<unknown>", *behaviors],
        event_to_behavior=list(range(1 + len(behaviors))),
    )


# -- who is asked -----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 3))
def test_no_behavior_waits_for_one_that_has_more(behavior, samples, seed):
    behavior = np.array(behavior)
    event = 7 + 3 * np.arange(len(behavior))
    chosen = choose_targets(event, behavior, samples, seed)
    assert len(chosen) == min(samples, len(event))
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(chosen.tolist()) <= set(event.tolist())
    assert (np.diff(chosen) > 0).all()
    taken = np.bincount(behavior[np.isin(event, chosen)], minlength=7)
    there = np.bincount(behavior, minlength=7)
    assert all(taken[b] == there[b] or taken[b] >= taken.max() - 1 for b in range(7))
    assert np.array_equal(chosen, choose_targets(event, behavior, samples, seed))


def test_another_seed_draws_others():
    event, behavior = np.arange(100), np.ones(100, np.int64)
    draws = [choose_targets(event, behavior, 10, seed).tolist() for seed in (0, 1)]
    assert draws[0] != draws[1]
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        choose_targets(event, behavior, 0, 0)


# -- the file ---------------------------------------------------------------------------------


def test_answers_come_back_as_they_were_given(tiny_store, tmp_path):
    told = []
    answers = collect_answers(teacher(), tiny_store, EVENT, tmp_path / "a.safetensors", lambda *done: told.append(done))
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    assert answers.is_complete
    assert answers.event.tolist() == EVENT.tolist()
    np.testing.assert_allclose(answers.probs, [answer_at(one) for one in EVENT], rtol=1e-6)
    assert answers.card == {"name": "T"}
    answers.require_log(tiny_store)


def test_a_stopped_teacher_goes_on_where_it_was(tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_answers, "_SAVE_EVERY_S", -1.0)
    path = tmp_path / "a.safetensors"

    def stop(done, total):
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        collect_answers(teacher(), tiny_store, EVENT, path, stop)
    half = TeacherAnswers.open(path)
    assert (len(half.event), half.num_asked, half.is_complete) == (4, 5, False)
    counting = Counting()
    whole = collect_answers(teacher(counting), tiny_store, EVENT, path)
    assert counting.asked == [21]
    assert whole.digest() == collect_answers(teacher(), tiny_store, EVENT, tmp_path / "b.safetensors").digest()
    counting.asked.clear()
    collect_answers(teacher(counting), tiny_store, EVENT, path)
    assert not counting.asked


def test_a_file_of_other_answers_is_refused(tiny_store, make_store, tmp_path):
    path = tmp_path / "a.safetensors"
    collect_answers(teacher(), tiny_store, EVENT, path)
    for other, event in (
        (teacher(card={"name": "U"}), EVENT),
        (teacher(names=["<unknown>", "a", "b", "c"]), EVENT),
        (teacher(), EVENT + 1),
    ):
        with pytest.raises(ValueError, match="another teacher or at other targets"):
            collect_answers(other, tiny_store, event, path)
    another_log = make_store([[(0, "a", None), (9, "b", None)]])
    with pytest.raises(ValueError, match="belong to another log"):
        collect_answers(teacher(), another_log, EVENT, path)


def test_what_is_no_distribution_is_refused(tiny_store, tmp_path):
    for wrong, message in (
        (np.full((2, 4), 0.5), "no probabilities .* got sums from 1.5 to 1.5"),
        (np.array([[0.0, 1.5, -0.5, 0.0]] * 2), "no probabilities"),
        (np.full((2, 4), np.nan), "no probabilities"),
        (np.full((2, 3), 1 / 3), r"answered with \(2, 3\) numbers, expected \(2, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            collect_answers(teacher(lambda event, w=wrong: w), tiny_store, EVENT, tmp_path / "a.safetensors")


def test_two_behaviors_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two behaviors called 'read'"):
        teacher(names=["<unknown>", "read", "walk", "read"])


@pytest.mark.parametrize("missing", ["event", "probs"])
def test_answers_without_a_tensor_are_damaged(tiny_store, tmp_path, missing):
    path = tmp_path / "a.safetensors"
    collect_answers(teacher(), tiny_store, EVENT, path)
    tensors, metadata = read_tensors(path)
    del tensors[missing]
    write_tensors(path, tensors, metadata)
    with pytest.raises(ValueError, match=f"is damaged: {missing} missing"):
        TeacherAnswers.open(path)


def test_a_file_that_is_something_else_is_named(tmp_path, tiny_checkpoint):
    with pytest.raises(ValueError, match="is not there"):
        TeacherAnswers.open(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no answers of a teacher"):
        TeacherAnswers.open(tiny_checkpoint.path / "model.safetensors")
    (tmp_path / "broken").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is damaged"):
        TeacherAnswers.open(tmp_path / "broken")


# -- whose names ------------------------------------------------------------------------------


def test_behaviors_are_matched_by_name():
    answers = TeacherAnswers(
        event=np.array([3, 5, 8]),
        probs=np.array([[0, 0.2, 0.3, 0.5], [0, 0, 0, 1], [0, 0.1, 0.9, 0]], np.float32),
        behaviors=NAMES,
        data_fingerprint="",
        card={},
        num_asked=3,
    )
    # The student lacks "eat", the teacher "swim".
    event, probs, known = answers.in_vocabulary(vocabulary("swim", "walk", "read"))
    assert event.tolist() == [3, 8]  # nothing is left of an answer that was all "eat"
    np.testing.assert_allclose(probs, [[0, 0, 0.6, 0.4], [0, 0, 0.9, 0.1]], rtol=1e-6)
    assert known.tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="shares 1 behaviors with the log"):
        answers.in_vocabulary(vocabulary("walk", "swim"))
