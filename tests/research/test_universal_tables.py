"""Tables of a universal model on small made-up stores: hits against rankings by hand, intervals, and the command."""

import json
import sys

import numpy as np
import pytest
import torch

import universal_tables as script
from compare_worlds import users_of_store
from edgebehave_train.universal.answers import answer_log
from edgebehave_train.universal.pretraining import UniversalTrainConfig, pretrain_universal
from edgebehave_train.universal.universal_model import UniversalConfig

DAY = 86400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny universal model after two steps."""
    out = tmp_path_factory.mktemp("universal") / "model"
    shape = UniversalConfig(learned_kernels=1, cue_width=4, context_width=4, score_width=4)
    pretrain_universal(UniversalTrainConfig(shape=shape, steps=2, lengths=(16, 16), queries=8), out, workers=0)
    return out


@pytest.fixture(scope="module")
def store(make_store):
    """Twelve users with forty events each; "x" is an event without a behavior."""
    rng = np.random.default_rng(0)
    users = [
        [(int(i * DAY / 4 + rng.integers(3600)), str(rng.choice(list("aabbcdx"))), "home") for i in range(40)]
        for _ in range(12)
    ]
    return make_store(users, {"a": "a", "b": "b", "c": "c", "d": "d", "x": None})


def columns(names):
    return np.array(names), np.full(len(names), -1), np.arange(len(names)) * 3600


def test_events_without_a_behavior_are_left_out_and_repeats_may_be(make_store):
    events = [(0, "a", None), (9, "x", None), (20, "a", "home"), (30, "b", None), (40, "b", "home")]
    store = make_store([events], {"a": "a", "b": "b", "x": None})
    ((behavior, location, local_s),) = users_of_store(store)
    assert [store.vocabulary.behaviors[b] for b in behavior] == ["a", "a", "b", "b"]
    assert local_s.tolist() == [0, 20, 30, 40]
    assert (location >= 0).tolist() == [False, True, False, True]
    ((behavior, _, local_s),) = users_of_store(store, collapses_repeats=True)
    assert local_s.tolist() == [0, 30]


def test_hits_of_counting_by_hand():
    hits = script.simple_hits([columns([7, 7, 3, 7, 3]), columns([5])])
    assert {len(of) for of in hits.values()} == {4}
    assert hits["MRU"][:, 0].tolist() == [1, 0, 0, 0]
    assert hits["MFU"][:, 0].tolist() == [1, 0, 1, 0]
    assert hits["MFU"][:, 1].tolist() == [1, 0, 1, 1]  # 3 is new when it first comes
    # After 7 came 7 and 3, once each: the one used last is 7.
    assert hits["online Markov 1"][:, 0].tolist() == [1, 0, 1, 0]


def test_habits_miss_a_new_behavior():
    hits = script.habit_hits([columns([7, 7, 3, 7, 3]), columns([5, 5])])
    assert hits[:, 0].tolist()[:2] == [1, 0]
    assert hits[:, 2].tolist() == [1, 0, 1, 1, 1]


def test_an_interval_is_over_clusters():
    values = np.array([1.0, 1, 0, 0])
    both = np.stack([values, 1 - values / 2], 1)
    one, other = script.mean_intervals(both, np.zeros(4, int), 50)
    assert (one.value, one.low, one.high) == (0.5, 0.5, 0.5)
    assert other.value == other.high == 0.75
    two, _ = script.mean_intervals(both, np.array([3, 3, 9, 9]), 200)
    assert (two.low, two.value, two.high) == (0, 0.5, 1)


def test_a_calibrated_model_has_an_error_by_chance():
    probability = np.full(60, 0.5)
    assert 0.1 < script.error_by_chance(probability) < 0.25  # bins of four: mean |k/4 - 1/2| is .19
    assert script.error_by_chance(np.full(60_000, 0.5)) < 0.01


def test_a_log_is_measured(folder, store):
    torch.set_num_threads(1)
    users = users_of_store(store)
    model = script.load_universal(folder)
    measured = script.measure(users, model, 20, 30)
    answers = answer_log(model, users)
    late = answers.take(answers.position >= 19)
    assert measured["num_queries"] == len(late.user) == sum(len(behavior) - 19 for behavior, *_ in users)
    assert measured["resampled"] == "users"
    value, low, high = measured["predictors"]["universal"]["hr_at_1"]
    assert value == pytest.approx(late.hits(1).mean())
    assert low <= value <= high
    best = measured["best_simple"]["hr_at_1"]
    highest = measured["predictors"][best]["hr_at_1"][0]
    assert highest == max(measured["predictors"][name]["hr_at_1"][0] for name in script.SIMPLE)
    assert measured["above_best_simple"]["universal"]["hr_at_1"][0] == pytest.approx(value - highest)
    assert [of["seen"] for of in measured["by_events_seen"]] == [1, 2, 5, 10, 20]
    assert sum(of["queries"] for of in measured["by_events_seen"]) == len(answers.user)
    assert measured["predictors"]["universal, no query time"]["hr_at_3"][0] > 0
    few = script.measure(users[:2], model, 20, 30)
    assert few["resampled"] == "weeks of users"
    with pytest.raises(ValueError, match="no user has 50 events"):
        script.measure(users, model, 50, 30)


def test_the_command_writes_json_prints_markdown_and_goes_on(folder, store, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tables.json"
    arguments = ["universal_tables.py", "--model", str(folder), "--store", str(store.path), "-o", str(out)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--resamples", "20"])
    script.main()
    printed = capsys.readouterr().out
    assert f"## {store.path}" in printed
    assert "| universal, no query time |" in printed
    content = json.loads(out.read_text())
    assert content["logs"][str(store.path)]["first_event"] == 20
    monkeypatch.setattr(script, "measure", lambda *arguments: pytest.fail("it was measured before"))
    script.main()
    assert capsys.readouterr().out == printed
    monkeypatch.delenv("EDGEBEHAVE_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["universal_tables.py", "--model", str(folder), "-o", str(out)])
    with pytest.raises(SystemExit):
        script.main()
    assert "name --store" in capsys.readouterr().err
