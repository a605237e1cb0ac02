import datetime

import pytest

from edgebehave_train.llm.prompts.next_sample import next_sample
from edgebehave_train.llm.prompts.samples import PastBehavior, log_samples
from edgebehave_train.logs.split import SplitConfig

# 2026-01-05 was a Monday.
MONDAY_S = int(datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC).timestamp())
WORDS = ["work", "home", "work", "gym", "home"]


@pytest.fixture(scope="module")
def store(make_store):
    users = [
        [(MONDAY_S + 3600 * (5 * i + u), word, "here" if i % 2 else None) for i, word in enumerate(WORDS)]
        for u in range(10)
    ]
    return make_store(users)


def test_it_is_the_sample_that_would_come_next(store):
    """The history of a sample of the log, shifted by its own target."""
    split = SplitConfig(by="user", train=0.8, validation=0.1)
    samples = log_samples(store, "train", split, history=3)
    last = next(s for s in samples if s.user == 4 and s.event == store.user_start[5] - 1)
    asked = next_sample(store, "u4", samples.vocabulary, history=3)
    target = PastBehavior(weekday=last.weekday, hour=last.hour, location=last.location, behavior=last.behavior)
    assert asked.history == (*last.history[1:], target)
    assert (asked.weekday, asked.hour) == (last.weekday, last.hour)
    assert (asked.user, asked.behavior, asked.location) == (4, 0, None)


def test_a_moment_is_told_in_its_own_zone(store):
    vocabulary = store.vocabulary
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    at = datetime.datetime(2026, 1, 11, 23, 40, tzinfo=zone)  # a Sunday there, Monday in UTC
    asked = next_sample(store, "u0", vocabulary, at=at)
    assert (asked.weekday, asked.hour) == (6, 23)
    with pytest.raises(ValueError, match="needs a time zone"):
        next_sample(store, "u0", vocabulary, at=datetime.datetime(2026, 1, 11))


def test_who_cannot_be_asked_about(store, make_store):
    with pytest.raises(ValueError, match="no user 'nobody'"):
        next_sample(store, "nobody", store.vocabulary)
    other = make_store([[(0, "swim", None)]])
    with pytest.raises(ValueError, match="no behavior that the model knows"):
        next_sample(other, "u0", store.vocabulary)
