"""Scores of an adaptation, counted by hand."""

import pytest

from edgebehave_train.adaptation.scores import score_adaptation
from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.training.pretraining import pretrain


@pytest.fixture(scope="module")
def known(make_store, recipe, tmp_path_factory):
    store = make_store([[(3600 * i, "abc"[i % 3], None) for i in range(40)] for _ in range(6)])
    config = recipe(epochs=1, split=SplitConfig(train=0.5, validation=0.3))
    return pretrain(store, config, tmp_path_factory.mktemp("known") / "out")


def test_an_unseen_event_counts_as_the_behavior_it_stands_for(make_store, known):
    # Every user goes on doing nothing but yoga, which two events stand for: from the second time
    # on, the habits of a model that never heard of it say so.
    users = [[(3600 * i, "abc"[i % 3] if i < 3 else f"yoga.{u % 2}", None) for i in range(40)] for u in range(6)]
    behavior_of_event = {"a": "a", "b": "b", "c": "c", "yoga.0": "yoga", "yoga.1": "yoga"}
    store = make_store(users, behavior_of_event)
    scores = score_adaptation(store, known, ["yoga"])
    assert scores["habits"].recall["yoga"] == scores["habits"].hr_at_1 > 0.5
    assert scores["habits"].recall_at_5["yoga"] == 1
    assert scores["network alone"].recall_at_5["yoga"] == 0
    assert scores["habits"].num_targets == {"yoga": 6 * 12}


def test_known_targets_and_new_ones_are_counted_apart(make_store, known):
    # Validation is 12 of 40 events: here 8 of a, b, c, which habits know, and 4 that are new.
    def event(i, u):
        return f"new.{u}.{i}" if i >= 28 else "abc"[i % 3]

    store = make_store([[(3600 * i, event(i, u), None) for i in range(40)] for u in range(2)])
    names = [f"new.{u}.{i}" for u in range(2) for i in range(28, 32)]
    scores = score_adaptation(store, known, [*names, "never"])["habits"]
    assert sum(scores.num_targets.values()) == 8
    assert all(scores.recall[name] == 0 for name in names)
    assert scores.recall["never"] != scores.recall["never"]  # NaN: not there
    assert scores.hr_at_1 == pytest.approx(scores.hr_at_1_known * 16 / 24)
    known_hits = scores.hr_at_1_known * 16
    assert scores.macro_recall < known_hits / 3


def test_a_reading_of_the_test_part_is_noted(make_store, known):
    store = make_store([[(3600 * i, "abcd"[i % 4], None) for i in range(40)] for _ in range(2)])
    before = len(known.read_metrics().get("test_reads", []))
    score_adaptation(store, known, ["d"], part="test")
    assert len(known.read_metrics()["test_reads"]) == before + 1
