"""What a model knows of a log, and what stays unknown or private to a user."""

import numpy as np
import pytest

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN_NAME
from edgebehave_train.logs.mapped_log import behavior_counts, map_log, training_vocabulary
from edgebehave_train.logs.split import SplitConfig, part_of_event

BEHAVIOR_OF_EVENT = {
    "eat.out": "eat",
    "eat.home": "eat",
    "read": "read",
    "walk": "walk",
    "screen.on": None,
    "screen.off": None,
    "eat.picnic": "eat",
    "fly": "fly",
    "dive": "dive",
}
NUM_TRAINING = 7  # events of each user that train


def log_of(events, locations=None):
    locations = locations or [None] * len(events)
    return [(60 * i, event, location) for i, (event, location) in enumerate(zip(events, locations, strict=True))]


@pytest.fixture(scope="module")
def store(make_store):
    """Two users with 7 training events and 6 later ones each."""
    first = ["read", "eat.out", "screen.on", "eat.home", "walk", "read", "walk"]
    first += ["fly", "eat.picnic", "screen.off", "dive", "fly", "read"]
    second = ["eat.out", "screen.on", "walk", "read", "screen.on", "screen.on", "walk"]
    second += ["dive", "screen.off", "dive", "fly", "eat.out", "eat.picnic"]
    locations = ["home", "work", None, "home", "park", "work", "home"] + ["moon", "home"] * 3
    return make_store([log_of(first, locations), log_of(second)], BEHAVIOR_OF_EVENT)


@pytest.fixture(scope="module")
def is_training():
    return np.tile(np.arange(13) < NUM_TRAINING, 2)


@pytest.fixture(scope="module")
def mapped(store, is_training):
    return map_log(store, training_vocabulary(store, is_training))


def test_the_vocabulary_holds_the_names_of_the_training_part_by_count_then_name(store, is_training):
    vocabulary = training_vocabulary(store, is_training)
    counts = behavior_counts(store, is_training, vocabulary)
    assert vocabulary.events == (
        *(UNKNOWN_NAME, "screen.on", "walk"),  # 4 each
        *("read", "eat.out", "eat.home"),  # 3, 2, 1
    )
    assert vocabulary.behaviors == (UNKNOWN_NAME, "walk", "eat", "read")  # 4, 3, 3
    assert vocabulary.locations == (UNKNOWN_NAME, "home", "work", "park")
    assert vocabulary.event_to_behavior == (0, NO_BEHAVIOR, 1, 3, 2, 2)
    assert counts.tolist() == [0, 4, 3, 3]


def test_names_that_train_equally_often_stand_by_name_whatever_comes_later(make_store):
    store = make_store([log_of([*"ba", *"bbb"], ["y", "x", "y", "y", "y"])])
    assert store.vocabulary.events[1:] == ("b", "a")
    vocabulary = training_vocabulary(store, np.arange(5) < 2)
    counts = behavior_counts(store, np.arange(5) < 2, vocabulary)
    assert vocabulary.events[1:] == vocabulary.behaviors[1:] == ("a", "b")
    assert vocabulary.locations[1:] == ("x", "y")
    assert counts.tolist() == [0, 1, 1]


def test_the_split_of_a_config_gives_the_training_part(store, is_training):
    part = part_of_event(store, SplitConfig(train=0.5, validation=0.2))
    assert ((part == 0) == is_training).all()


def test_names_that_did_not_train_are_unknown_as_input(mapped):
    names = [mapped.vocabulary.events[i] for i in mapped.event[:13]]
    assert names[:7] == ["read", "eat.out", "screen.on", "eat.home", "walk", "read", "walk"]
    assert names[7:] == [UNKNOWN_NAME] * 5 + ["read"]
    assert mapped.location[:8].tolist() == [1, 2, 0, 1, 3, 2, 1, 0]
    # To the habit kernels the unknown location is still a location, and not the same as none.
    assert mapped.location_identity[7] == mapped.location_identity[9] != 0
    assert mapped.location_identity[2] == 0


def test_unknown_behaviors_are_private_to_each_user_in_order_of_first_sight(mapped):
    v = mapped.vocabulary.num_behaviors
    walk, eat, read = 1, 2, 3
    # fly, eat.picnic, screen.off, dive, fly, read
    # screen.off is input only, which a device that never saw it cannot know.
    assert mapped.behavior[7:13].tolist() == [v, v + 1, v + 2, v + 3, v, read]
    # dive, screen.off, dive, fly, eat.out, eat.picnic
    assert mapped.behavior[20:26].tolist() == [v, v + 1, v, v + 2, eat, v + 3]
    assert mapped.behavior[:7].tolist() == [read, eat, NO_BEHAVIOR, eat, walk, read, walk]


def test_a_new_event_with_the_name_of_a_behavior_stands_for_it(make_store):
    events = ["walk.slow", "eat.out", "walk.slow", "walk"]
    behaviors = {"walk.slow": "walk", "eat.out": "eat", "walk": "eat"}
    store = make_store([log_of(events)], behaviors)
    vocabulary = training_vocabulary(store, np.arange(4) < 3)
    mapped = map_log(store, vocabulary)
    assert mapped.behavior[3] == vocabulary.behavior_id("walk")
    assert mapped.target[3] == vocabulary.behavior_id("eat")


def test_targets_ask_for_the_behavior_even_of_a_new_event(mapped):
    # A picnic is an event that no device knows, of a behavior that it does.
    assert mapped.target[7:13].tolist() == [0, 2, NO_BEHAVIOR, 0, 0, 3]
    assert mapped.target[20:26].tolist() == [0, NO_BEHAVIOR, 0, 0, 2, 2]
    assert mapped.behavior[8] >= mapped.vocabulary.num_behaviors


def test_the_next_behavior_skips_input_only_events_and_stops_at_the_user(mapped):
    assert mapped.next_behavior[:13].tolist() == [1, 3, 3, 4, 5, 6, 7, 8, 10, 10, 11, 12, -1]
    assert mapped.next_behavior[13:17].tolist() == [15, 15, 16, 19]
    assert mapped.next_behavior[24:].tolist() == [25, -1]


def test_trailing_input_only_events_have_no_next_behavior(make_store):
    store = make_store([log_of(["read", "screen.on", "screen.off"]), log_of(["walk", "read"])],
                       BEHAVIOR_OF_EVENT)  # fmt: skip
    mapped = map_log(store, store.vocabulary)
    assert mapped.next_behavior.tolist() == [-1, -1, -1, 4, -1]


def test_a_log_read_through_its_own_vocabulary_is_itself(store):
    mapped = map_log(store, store.vocabulary)
    for name in ("event", "location", "behavior"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(store, name))
    np.testing.assert_array_equal(mapped.target, store.behavior)
    assert mapped.user_of_event().tolist() == [0] * 13 + [1] * 13


def test_weekday_and_slot_are_local(make_store):
    store = make_store([[(0, "read", None), (18 * 3600 + 1799, "walk", None)]])
    mapped = map_log(store, store.vocabulary)
    assert mapped.weekday.tolist() == [3, 3]  # 1970-01-01 was a Thursday
    assert mapped.slot.tolist() == [0, 36]


def test_the_behavior_log_makes_room_for_every_private_behavior(mapped, is_training):
    behaviors = mapped.behavior_log(is_training)
    assert behaviors.num_spare == 4
    assert behaviors.train_counts.tolist() == [0, 4, 3, 3]
    targets = behaviors.targets(~is_training)
    assert targets.behavior.tolist() == [0, 2, 0, 0, 3, 0, 0, 0, 2, 2]


@pytest.mark.parametrize("min_users", [2, 5])
def test_a_name_of_too_few_users_stays_out_of_the_vocabulary(store, min_users):
    """Of two users, two are all: 5 asks for no more."""
    is_training = part_of_event(store, SplitConfig(train=NUM_TRAINING / 13, validation=3 / 13)) == 0
    assert is_training.sum() == 2 * NUM_TRAINING
    vocabulary = training_vocabulary(store, is_training, min_users)
    assert set(vocabulary.events) == {UNKNOWN_NAME, "read", "eat.out", "screen.on", "walk"}
    assert set(vocabulary.behaviors) == {UNKNOWN_NAME, "read", "eat", "walk"}
    assert vocabulary.locations == (UNKNOWN_NAME,)
    whole = training_vocabulary(store, is_training)
    assert "eat.home" in whole.events
    assert [name for name in whole.events if name in vocabulary.events] == list(vocabulary.events)


def test_a_log_of_one_user_keeps_its_names(make_store):
    events = ["read", "walk", "read", "eat.out"]
    store = make_store([log_of(events, ["home", "park", "home", "work"])], BEHAVIOR_OF_EVENT)
    everything = np.ones(len(events), bool)
    assert training_vocabulary(store, everything, 5) == training_vocabulary(store, everything)
