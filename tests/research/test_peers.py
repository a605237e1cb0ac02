"""Peers: RecTools' models on our logs, asked for exactly what their own `recommend` answers."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rectools", reason="needs RecTools: pip install 'edgebehave[peers]'")

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset

from edgebehave_train.evaluation.baselines import most_popular
from edgebehave_train.files import read_json, write_json
from edgebehave_train.logs.behavior_log import NO_TIME
from edgebehave_train.logs.split import VALIDATION
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from peers import Peer, PeerConfig, train_peer, window_cuts

SMALL = {"width": 16, "num_layers": 1, "window": 8, "batch_windows": 32, "learning_rate": 1e-2}


def small(kind: str, **changes) -> PeerConfig:
    temperature = 1.0 if kind == "sasrec" else 0.05
    return PeerConfig(**{"kind": kind, "temperature": temperature, **SMALL, **changes})


@pytest.fixture(scope="module", params=["sasrec", "hstu"])
def trained(request, tiny_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("peer") / request.param
    return train_peer(tiny_store, small(request.param, epochs=3), out), out


def validation(peer: Peer):
    return peer.behaviors.targets(peer.part == VALIDATION)


def scores_of(peer: Peer, behaviors, targets) -> np.ndarray:
    return np.concatenate([scores for _, scores in peer.scores(behaviors, targets)])


@pytest.mark.parametrize("num_behaviors", [2, 3, 8, 9, 10, 40])
def test_windows_predict_every_behavior_but_the_first_once(num_behaviors):
    for seed in range(20):
        cuts = window_cuts(num_behaviors, 8, np.random.default_rng(seed))
        held = [np.arange(num_behaviors)[cut] for cut in cuts]
        assert np.concatenate([rows[1:] for rows in held]).tolist() == [*range(1, num_behaviors)]
        assert max(len(rows) for rows in held) <= 8 + 1
    assert window_cuts(1, 8, np.random.default_rng(0)) == []


def test_scores_are_those_of_recommend(trained):
    """Every validation target of three users, with its true past as a log of its own."""
    peer, _ = trained
    log, targets = peer.behaviors, validation(peer)
    targets = targets.take(targets.user <= targets.user[0] + 2)
    ours = scores_of(peer, log, targets)
    pasts, contexts = [], []
    for number, row in enumerate(targets.row):
        past = np.arange(log.user_start[log_user(log, row)], row)
        past = past[(log.behavior[past] > 0) & (log.behavior[past] < log.num_behaviors)]
        pasts.append((np.full(len(past), number), log.behavior[past], log.time_s[past]))
        contexts.append((number, log.query_time_s[row]))
    user, item, time_s = (np.concatenate(column) for column in zip(*pasts, strict=True))
    context = pd.DataFrame(contexts, columns=[Columns.User, Columns.Datetime])
    context[Columns.Datetime] = pd.to_datetime(context[Columns.Datetime], unit="s")
    context[Columns.Weight] = 1.0
    past_log = pd.DataFrame(
        {
            Columns.User: user,
            Columns.Item: item,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(time_s, unit="s"),
        }
    )
    recommended = peer.model.recommend(
        users=np.arange(len(targets)),
        dataset=Dataset.construct(past_log),
        k=log.num_behaviors,
        filter_viewed=False,
        context=context if peer.config.kind == "hstu" else None,
    )
    assert len(recommended) == np.isfinite(ours).sum()
    theirs = np.full_like(ours, -np.inf)
    theirs[recommended[Columns.User], recommended[Columns.Item]] = recommended[Columns.Score]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def log_user(log, row) -> int:
    return int(np.searchsorted(log.user_start, row, side="right")) - 1


def test_a_target_depends_on_its_own_users_past_alone(trained):
    peer, _ = trained
    targets = validation(peer)
    now = len(targets) // 2
    row, log = targets.row[now], peer.behaviors
    before = scores_of(peer, log, targets)
    behavior, time_s = log.behavior.copy(), log.time_s.copy()
    behavior[row:] = behavior[row:] % 3 + 1
    behavior[: log.user_start[targets.user[now]]] = 1
    time_s[row:] += 5_000
    changed = dataclasses.replace(log, behavior=behavior, time_s=time_s)
    np.testing.assert_array_equal(scores_of(peer, changed, targets)[now], before[now])
    behavior = behavior.copy()
    behavior[row - 1] = behavior[row - 1] % 3 + 1
    changed = dataclasses.replace(log, behavior=behavior)
    assert not np.array_equal(scores_of(peer, changed, targets)[now], before[now])


def test_only_hstu_knows_the_moment_to_predict_for(trained):
    peer, _ = trained
    log, targets = peer.behaviors, validation(peer)
    later = dataclasses.replace(log, query_time_s=log.query_time_s + 3 * 86_400)
    same = np.array_equal(scores_of(peer, later, targets), scores_of(peer, log, targets))
    assert same == (peer.config.kind == "sasrec")
    if peer.config.kind == "hstu":
        unknown = dataclasses.replace(log, query_time_s=np.full_like(log.query_time_s, NO_TIME))
        with pytest.raises(ValueError, match="hstu needs the moment to predict for"):
            scores_of(peer, unknown, targets)


def test_without_a_known_past_the_most_popular_stand_in(trained):
    peer, _ = trained
    log, targets = peer.behaviors, validation(peer)
    nothing_known = dataclasses.replace(log, behavior=np.full_like(log.behavior, 0))
    scores = scores_of(peer, nothing_known, targets)
    np.testing.assert_array_equal(scores, np.tile(log.train_counts, (len(targets), 1)))


def test_a_kept_peer_answers_as_before_and_another_is_refused(trained, tiny_store):
    peer, out = trained
    again = train_peer(tiny_store, peer.config, out)
    targets = validation(peer)
    np.testing.assert_array_equal(scores_of(again, again.behaviors, targets), scores_of(peer, peer.behaviors, targets))
    assert again.training == peer.training
    assert {path.name for path in out.iterdir()} == {"peer.json", "model.safetensors"}
    with pytest.raises(ValueError, match="a peer of another configuration"):
        train_peer(tiny_store, dataclasses.replace(peer.config, seed=1), out)
    content = read_json(out / "peer.json")
    write_json(out / "peer.json", {**content, "format_version": 0})
    with pytest.raises(ValueError, match="of another version"):
        Peer.open(tiny_store, out)
    write_json(out / "peer.json", content)
    content["training"]["data_fingerprint"] = "other"
    with pytest.raises(ValueError, match="no trained peer"):
        Peer.open(tiny_store, out.parent)


@pytest.mark.parametrize("kind", ["sasrec", "hstu"])
def test_it_learns_a_routine_the_same_with_the_same_seed(make_store, kind):
    events = [f"e{i}" for i in (0, 3, 1, 4, 2)]
    users = [[(1_700_000_000 + 3600 * t, events[(t + user) % 5], None) for t in range(60)] for user in range(12)]
    store = make_store(users)
    peers = [Peer(store, small(kind, epochs=8, patience=8)) for _ in range(2)]
    for peer in peers:
        peer.train()
    first, second = peers
    assert first.training["validation_mrr"] == second.training["validation_mrr"]
    targets, log = validation(first), first.behaviors
    metrics = evaluate_predictions(first.predict(log, targets), log.train_counts)
    popular = evaluate_predictions(most_popular(log, targets), log.train_counts)
    assert metrics["hr_at_1"] > 0.9 > popular["hr_at_1"]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="kind must be sasrec or hstu, got 'gru'"):
        PeerConfig(kind="gru")
    with pytest.raises(ValueError, match="loss must be softmax, BCE or gBCE, got 'ce'"):
        PeerConfig(kind="sasrec", loss="ce")
    with pytest.raises(ValueError, match="width must be divisible by num_heads, got 10 and 4"):
        PeerConfig(kind="sasrec", width=10, num_heads=4)
