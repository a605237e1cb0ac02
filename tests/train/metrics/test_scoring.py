"""Scores of a log against a slow device that answers one question at a time."""

import numpy as np
import pytest
import torch

from edgebehave.habits import HABIT_EVENTS, HabitHistory, habit_probs
from edgebehave.time_features import weekday_and_slot
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from edgebehave_train.metrics import scoring
from edgebehave_train.metrics.scoring import query_moments, target_probs
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import UNKNOWN_TIME, VOCABULARY_TRUST, BehaviorModel, ModelConfig

BEHAVIOR_OF_EVENT = {name: name for name in "abcdef"} | {"screen.on": None, "new": "new", "A": "a"}


def random_users(seed=0, lengths=(1, 2, 45, 70, 30)):
    """Rows of `make_store`; `new` and `A` (another event of behavior a) appear late only."""
    rng = np.random.default_rng(seed)
    users = []
    for length in lengths:
        times = 1_700_000_000 + rng.integers(60, 20_000, length).cumsum()
        events = rng.choice([*"abcdef", "screen.on"], length)
        late = (np.arange(length) > 0.8 * length) & (rng.random(length) < 0.3)
        events = np.where(late, rng.choice(["new", "A"], length), events)
        locations = rng.choice(["home", "work", ""], length)
        users.append([(int(t), str(e), str(p) or None) for t, e, p in zip(times, events, locations, strict=True)])
    return users


@pytest.fixture(scope="module")
def store(make_store):
    return make_store(random_users(), BEHAVIOR_OF_EVENT)


def is_training(store):
    return part_of_event(store, SplitConfig()) == TRAIN


def make_model(vocabulary, **changes) -> BehaviorModel:
    """Random weights everywhere, so that every input and every gate counts."""
    torch.manual_seed(0)
    config = ModelConfig(
        num_events=vocabulary.num_events,
        num_locations=vocabulary.num_locations,
        num_behaviors=vocabulary.num_behaviors,
        width=16,
        num_layers=2,
        num_heads=2,
        window=8,
        learned_kernel=False,
        **changes,
    )
    model = BehaviorModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def score(model, log, in_training, early_s=0, experts="all", held_out=None):
    """Targets outside the training part and (T, C) probabilities."""
    behaviors = log.behavior_log(in_training, early_s)
    targets = behaviors.targets(~in_training if held_out is None else held_out)
    probs = np.full((len(targets), behaviors.num_candidates), np.nan, np.float32)
    for which, block in target_probs(model, log, behaviors, targets, early_s, experts):
        assert np.isnan(probs[which]).all(), "scored twice"
        probs[which] = block
    assert not np.isnan(probs).any()
    return targets, probs


@torch.no_grad()
def answer(model, log, event: int, num_candidates: int, early_s=0, experts="all") -> np.ndarray:
    """One target the obvious way: the user's past alone, dense attention, the runtime's kernels."""
    start = int(log.user_start[np.searchsorted(log.user_start, event, side="right") - 1])
    past = slice(start, event)
    columns = (log.event, log.location, log.weekday, log.slot)
    inputs = [torch.from_numpy(column[past].astype(np.int64))[None] for column in columns]
    plan = plan_attention(torch.zeros_like(inputs[0]), model.config.window, "dense")
    hidden = model.hidden(*inputs, plan)[0, -1]
    time_s, offset = None, int(log.utc_offset_min[event])
    weekday = slot = UNKNOWN_TIME
    if early_s is not None:
        time_s = max(int(log.time_s[event]) - early_s, int(log.time_s[event - 1]))
        weekday, slot = (int(x) for x in weekday_and_slot(time_s, offset))
    if model.config.query_context == "none":
        time_s = None
    location = torch.tensor(int(log.location[event]))
    z = model.query(hidden, torch.tensor(weekday), torch.tensor(slot), location)
    network = np.zeros(num_candidates)
    network[: model.config.num_behaviors] = model.logits(z).softmax(-1).numpy()
    if not model.config.habits or experts == "network":
        return network
    recent = slice(max(start, event - HABIT_EVENTS), event)
    history = HabitHistory.of_events(
        log.behavior[recent], log.location_identity[recent], log.time_s[recent], log.utc_offset_min[recent]
    )
    probs_KC, evidence_K = habit_probs(history, num_candidates, time_s, offset)
    gates = model.log_gates(z, torch.from_numpy(evidence_K)).exp().numpy()
    num_known = int((history.behavior < model.config.num_behaviors).sum())
    gates[0] *= (num_known + VOCABULARY_TRUST) / (len(history.behavior) + VOCABULARY_TRUST)
    gates /= gates.sum()
    return gates[0] * network + gates[1:] @ probs_KC


@pytest.mark.parametrize(
    ("changes", "early_s", "experts"),
    [
        ({}, 0, "all"),
        ({}, 3600, "all"),
        ({}, None, "all"),
        ({}, 600, "network"),
        ({"habits": False}, 0, "all"),
        ({"query_context": "none"}, 0, "all"),
        ({"query_context": "time_location"}, 0, "all"),
    ],
)
def test_scores_equal_one_answer_at_a_time(store, changes, early_s, experts, monkeypatch):
    monkeypatch.setattr(scoring, "_ROW_EVENTS", 64)  # several rows, several users in some
    in_training = is_training(store)
    vocabulary = training_vocabulary(store, in_training)
    log, model = map_log(store, vocabulary), make_model(vocabulary, **changes)
    targets, probs = score(model, log, in_training, early_s, experts)
    assert len(targets) > 30
    assert (log.behavior[targets.event] >= vocabulary.num_behaviors).any(), "some are private"
    for i, event in enumerate(targets.event.tolist()):
        expected = answer(model, log, event, probs.shape[1], early_s, experts)
        np.testing.assert_allclose(probs[i], expected, atol=1e-5)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert not probs[:, 0].any()


def test_targets_of_any_part_get_the_same_scores(store):
    in_training = is_training(store)
    vocabulary = training_vocabulary(store, in_training)
    log, model = map_log(store, vocabulary), make_model(vocabulary)
    everything = np.ones(len(log.event), bool)
    whole, whole_probs = score(model, log, in_training, held_out=everything)
    some, some_probs = score(model, log, in_training, held_out=everything & (log.slot % 3 == 0))
    matching = np.searchsorted(whole.event, some.event)
    np.testing.assert_allclose(some_probs, whole_probs[matching], atol=1e-6)


def test_the_future_changes_no_earlier_prediction(store, make_store):
    in_training = is_training(store)
    vocabulary = training_vocabulary(store, in_training)
    model, users = make_model(vocabulary), random_users()
    # User 3 trains on 49 events. From a later behavior on, another life; its time is the query's.
    now = next(i for i in range(55, 70) if users[3][i][1] in "abcdef")
    users[3][now] = (users[3][now][0], "d", users[3][now][2])
    users[3][now + 1 :] = [(t + 9_999, "b", "home") for t, *_ in users[3][now + 1 :]]
    changed = make_store(users, BEHAVIOR_OF_EVENT)
    (before_targets, before), (after_targets, after) = (
        score(model, map_log(s, vocabulary), in_training) for s in (store, changed)
    )
    first, stop = int(store.user_start[3]) + now, int(store.user_start[4])

    def is_affected(targets):
        return (targets.event > first) & (targets.event < stop)

    width = min(before.shape[1], after.shape[1])  # a changed life may need fewer private ids
    np.testing.assert_allclose(
        before[~is_affected(before_targets), :width],
        after[~is_affected(after_targets), :width],
        atol=1e-6,
    )
    both = np.intersect1d(before_targets.event, after_targets.event)
    both = both[(both > first) & (both < stop)]
    differences = (
        before[np.isin(before_targets.event, both), :width] - (after[np.isin(after_targets.event, both), :width])
    )
    assert (np.abs(differences).max(1) > 1e-4).all()


def test_asking_early_does_not_reach_behind_the_last_event(store):
    in_training = is_training(store)
    log = map_log(store, training_vocabulary(store, in_training))
    targets = log.behavior_log(in_training).targets(~in_training)
    gap_s = log.time_s[targets.event] - log.time_s[targets.event - 1]
    assert (gap_s < 3600).any()
    assert (gap_s > 3600).any()
    asked = log.time_s[targets.event] - np.minimum(gap_s, 3600)
    expected = weekday_and_slot(asked, log.utc_offset_min[targets.event])
    for moment, by_hand in zip(query_moments(log, targets, 3600), expected, strict=True):
        np.testing.assert_array_equal(moment, by_hand)
    for moment in query_moments(log, targets, None):
        assert set(moment.tolist()) == {UNKNOWN_TIME}
    # The kernels are asked at the same moment.
    behaviors = log.behavior_log(in_training, 3600)
    np.testing.assert_array_equal(behaviors.query_time_s[targets.row], asked)


@pytest.mark.parametrize("habits", [True, False])
def test_without_a_query_context_the_moment_changes_nothing(store, habits):
    in_training = is_training(store)
    vocabulary = training_vocabulary(store, in_training)
    log = map_log(store, vocabulary)
    model = make_model(vocabulary, query_context="none", habits=habits)
    on_time, early, never = (score(model, log, in_training, s)[1] for s in (0, 3600, None))
    np.testing.assert_array_equal(on_time, early)
    np.testing.assert_array_equal(on_time, never)


def test_private_behaviors_are_predicted_by_the_kernels_alone(store):
    in_training = is_training(store)
    vocabulary = training_vocabulary(store, in_training)
    log, model = map_log(store, vocabulary), make_model(vocabulary)
    _, network = score(model, log, in_training, experts="network")
    _, mixture = score(model, log, in_training)
    assert not network[:, vocabulary.num_behaviors :].any()
    assert mixture[:, vocabulary.num_behaviors :].any()
