"""Samples are the targets of evaluation, with the past that a reader of the log would find."""

import datetime

import numpy as np
import pytest

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.evaluation.part_predictions import part_targets
from edgebehave_train.llm.prompts.samples import LLM_SPLIT, PastBehavior, Sample, log_samples, next_sample
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import SplitConfig, part_of_event

MONDAY = 1_704_067_200  # 2024-01-01, 00:00 UTC
HOUR, DAY = 3600, 86400


@pytest.fixture(scope="module")
def by_hand(make_store):
    """One user who trains, one who validates and one who tests (in the order of the shuffle), with
    the same events; `rare` and its user's locations occur in one user each."""
    users = [
        [
            (MONDAY + 7 * HOUR, "wake", "home"),
            (MONDAY + 7 * HOUR + 60, "screen", "home"),
            (MONDAY + 9 * HOUR, "work", f"office_{u}"),
            (MONDAY + 12 * HOUR, f"rare_{u}", None),
            (MONDAY + 6 * DAY + 23 * HOUR + 1800, "sleep", "home"),
            (MONDAY + 7 * DAY, f"rare_{u}", "home"),
        ]
        for u in range(3)
    ]
    names = ["wake", "work", "sleep", "rare_0", "rare_1", "rare_2"]
    return make_store(users, {name: name for name in names} | {"screen": None})


THIRDS = SplitConfig(by="user", train=0.34, validation=0.34)


def test_a_sample_by_hand(by_hand):
    samples = log_samples(by_hand, "test", THIRDS)
    name = samples.vocabulary.behaviors
    wake, work, sleep = map(samples.vocabulary.behavior_id, ("wake", "work", "sleep"))
    user = int(samples.targets.user[0])
    office = f"office_{user}"
    assert [name[b] for b in samples.behavior] == ["work", "sleep"]
    assert samples[1] == Sample(
        event=6 * user + 4,
        user=user,
        history=(
            PastBehavior(weekday=0, hour=7, location="home", behavior=wake),
            PastBehavior(weekday=0, hour=9, location=office, behavior=work),
        ),
        weekday=6,
        hour=23,
        location="home",
        behavior=sleep,
    )


def test_a_history_has_as_many_known_behaviors_as_there_are(by_hand):
    (_, last) = log_samples(by_hand, "test", THIRDS, history=1)
    assert [past.hour for past in last.history] == [9]
    assert len(log_samples(by_hand, "train", THIRDS)[-1].history) == 4


def test_targets_without_a_known_past_are_left_out(by_hand):
    samples = log_samples(by_hand, "test", THIRDS, Vocabulary.identity(["work", "sleep"]))
    assert [samples.vocabulary.behaviors[b] for b in samples.behavior] == ["sleep"]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("split", [LLM_SPLIT, SplitConfig()])
def test_samples_are_the_known_targets_of_evaluation(tiny_store, part, split):
    samples = log_samples(tiny_store, part, split)
    parts = part_of_event(tiny_store, split)
    asked = part_targets(map_log(tiny_store, samples.vocabulary), parts, part)
    here = np.isin(asked.targets.event, samples.targets.event)
    for behavior, user, event in zip(
        *(column[~here] for column in (asked.targets.behavior, asked.targets.user, asked.targets.event)), strict=True
    ):
        before = asked.log.behavior[asked.log.user_start[user] : event]
        assert behavior == 0 or not ((before > 0) & (before < samples.vocabulary.num_behaviors)).any()
    for name, column in vars(asked.targets.take(here)).items():
        np.testing.assert_array_equal(column, getattr(samples.targets, name))
    np.testing.assert_array_equal(samples.train_counts, asked.behaviors.train_counts)


def test_every_sample_is_what_a_walk_through_the_log_finds(tiny_store):
    """The slow way: the words of each user's events, one by one."""
    split = SplitConfig()
    samples = log_samples(tiny_store, "test", split, history=5)
    words = samples.vocabulary
    by_event = {sample.event: sample for sample in samples}
    parts = part_of_event(tiny_store, split)
    found = 0
    for user in range(tiny_store.num_users):
        past = []
        for i, event in enumerate(tiny_store.named_events(user)):
            local_s = event.time_s + 60 * event.utc_offset_min
            weekday, hour = (local_s // DAY + 3) % 7, local_s % DAY // HOUR
            behavior = words.behavior_id(event.behavior) if event.behavior else 0
            here = int(tiny_store.user_start[user]) + i
            if parts[here] == 2 and behavior and past:
                sample = by_event[here]
                assert (sample.user, sample.behavior) == (user, behavior)
                assert (sample.weekday, sample.hour) == (weekday, hour)
                assert sample.location == event.location
                assert sample.history == tuple(past[-5:])
                found += 1
            if behavior:
                moment = {"weekday": weekday, "hour": hour}
                past.append(PastBehavior(**moment, location=event.location, behavior=behavior))
    assert found == len(samples) > 0


def test_samples_are_taken_like_targets(tiny_store):
    samples = log_samples(tiny_store, "validation")
    rare = samples.take(samples.behavior == samples.behavior.max())
    assert set(rare.behavior) == {samples.behavior.max()}
    assert samples[2:6:2][1] == samples[4] == samples.take(np.array([1, 4]))[-1]
    assert list(samples[:3]) == [samples[0], samples[1], samples[2]]
    with pytest.raises(ValueError, match="ascend"):
        samples.take(np.array([4, 1]))
    with pytest.raises(IndexError):
        samples[len(samples)]


def test_what_cannot_be_sampled_is_said(tiny_store):
    with pytest.raises(ValueError, match="part must be"):
        log_samples(tiny_store, "all")
    with pytest.raises(ValueError, match="history must be 1 or more"):
        log_samples(tiny_store, "test", history=0)
    with pytest.raises(ValueError, match="holds no sample"):
        log_samples(tiny_store, "test", vocabulary=Vocabulary.identity(["never"]))


# -- the next sample of a user ------------------------------------------------------------------

FIRST_MONDAY_S = int(datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC).timestamp())
WORDS = ["work", "home", "work", "gym", "home"]


@pytest.fixture(scope="module")
def next_store(make_store):
    users = [
        [(FIRST_MONDAY_S + 3600 * (5 * i + u), word, "here" if i % 2 else None) for i, word in enumerate(WORDS)]
        for u in range(10)
    ]
    return make_store(users)


def test_it_is_the_sample_that_would_come_next(next_store):
    """The history of a sample of the log, shifted by its own target."""
    split = SplitConfig(by="user", train=0.8, validation=0.1)
    samples = log_samples(next_store, "train", split, history=3)
    last = next(s for s in samples if s.user == 4 and s.event == next_store.user_start[5] - 1)
    asked = next_sample(next_store, "u4", samples.vocabulary, history=3)
    target = PastBehavior(weekday=last.weekday, hour=last.hour, location=last.location, behavior=last.behavior)
    assert asked.history == (*last.history[1:], target)
    assert (asked.weekday, asked.hour) == (last.weekday, last.hour)
    assert (asked.user, asked.behavior, asked.location) == (4, 0, None)


def test_a_moment_is_told_in_its_own_zone(next_store):
    vocabulary = next_store.vocabulary
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    at = datetime.datetime(2026, 1, 11, 23, 40, tzinfo=zone)  # a Sunday there, Monday in UTC
    asked = next_sample(next_store, "u0", vocabulary, at=at)
    assert (asked.weekday, asked.hour) == (6, 23)
    with pytest.raises(ValueError, match="needs a time zone"):
        next_sample(next_store, "u0", vocabulary, at=datetime.datetime(2026, 1, 11))


def test_who_cannot_be_asked_about(next_store, make_store):
    with pytest.raises(ValueError, match="no user 'nobody'"):
        next_sample(next_store, "nobody", next_store.vocabulary)
    other = make_store([[(0, "swim", None)]])
    with pytest.raises(ValueError, match="no behavior that the model knows"):
        next_sample(other, "u0", next_store.vocabulary)
