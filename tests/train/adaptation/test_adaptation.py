"""Adaptation: what is new, what it starts from, what trains, and what stays to the bit."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from edgebehave_train.adaptation import adaptation
from edgebehave_train.adaptation.adaptation import (
    AdaptConfig,
    adapt,
    grown_vocabulary,
    new_behaviors,
    train_at_log_shares,
)
from edgebehave_train.adaptation.new_rows import calibrate_biases, grown_model, prototype_rows
from edgebehave_train.adaptation.scores import score_adaptation
from edgebehave_train.adaptation.support_set import choose_support, union_of_ranges
from edgebehave_train.files import read_json, read_tensors, write_json
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.training_run import Start

HOUR_S = 3600
DAY = ("wake", "coffee", "work", "lunch", "work", "home")


def days(num_days: int, extra: bool, user: int) -> list:
    """Days with a fixed order; "yoga" comes after lunch every other day if wanted."""
    rows = []
    for day in range(num_days):
        for hour, event in enumerate(DAY):
            time_s = (day * 24 + 7 + 2 * hour) * HOUR_S
            rows.append((time_s, event, "office" if event == "work" else "town"))
            if extra and event == "lunch" and (day + user) % 2 == 0:
                rows.append((time_s + HOUR_S, "yoga", "studio"))
    return rows


@pytest.fixture(scope="module")
def store(make_store):
    return make_store([days(12, True, user) for user in range(12)])


@pytest.fixture(scope="module")
def known(make_store, recipe, tmp_path_factory):
    """A checkpoint that has never seen yoga, nor the studio."""
    before = make_store([days(12, False, user) for user in range(12)])
    split = SplitConfig(by="user", validation=0.2, train=0.6)
    # A learned kernel has little left to learn here: what begins would already be the best.
    config = recipe(epochs=6, split=split, learned_kernel=False)
    return pretrain(before, config, tmp_path_factory.mktemp("known") / "out")


def support_of(store, known, examples):
    return choose_support(store, known, grown_vocabulary(store, known), examples, 0)


def test_known_ids_keep_their_positions_and_new_ones_follow(store, known):
    grown = grown_vocabulary(store, known)
    for kind in ("events", "locations", "behaviors"):
        there = getattr(known.vocabulary, kind)
        assert getattr(grown, kind)[: len(there)] == there
    assert grown.events[-1] == grown.behaviors[-1] == "yoga"
    assert grown.locations[-1] == "studio"
    assert grown.event_to_behavior[-1] == grown.behavior_id("yoga")


def test_k_examples_are_k_targets_and_their_histories(store, known):
    support = support_of(store, known, 3)
    log = map_log(store, grown_vocabulary(store, known))
    is_yoga = log.target == log.vocabulary.behavior_id("yoga")
    assert (support.is_target & is_yoga).sum() == support.examples[-1] == 3
    is_train = part_of_event(store, known.config.split) == TRAIN
    assert not (support.is_target & ~is_train).any()
    inside = np.zeros(store.num_events, bool)
    for start, stop in support.ranges.tolist():
        assert not inside[start:stop].any()
        inside[start:stop] = True
    examples = np.flatnonzero(support.is_target & is_yoga)
    assert inside[examples - 1].all()
    assert (inside & ~is_train).sum() == 0
    assert support.prior[-1] == pytest.approx(is_yoga[is_train].mean())


def test_without_a_number_everything_is_an_example(store, known):
    support = support_of(store, known, 0)
    assert np.array_equal(support.is_target, part_of_event(store, known.config.split) == TRAIN)
    # Only the first event of each user is not predicted, so the shares almost agree.
    assert support.share[-1] == pytest.approx(support.prior[-1], rel=0.05)


def test_histories_that_overlap_are_read_once():
    joined = union_of_ranges(np.array([[0, 4], [2, 6], [6, 8], [10, 12]]))
    assert joined.tolist() == [[0, 6], [6, 8], [10, 12]]
    assert union_of_ranges(np.array([[4, 6], [5, 8], [0, 9]])).tolist() == [[0, 9]]


def test_the_prototype_points_where_the_examples_are():
    rng = torch.Generator().manual_seed(0)
    feature_MF = torch.randn(4000, 3, generator=rng)
    feature_MF[:, 1] *= 2  # a direction that varies more says less
    target_M = torch.ones(4000, dtype=torch.int64)
    target_M[:400] = 3
    feature_MF[:400] += torch.tensor([1.0, 1.0, 0.0])
    known_weight_VF, bias_V = torch.zeros(3, 3), torch.tensor([-9.0, 0.0, 0.0, 0.0])
    sample_M = torch.full((4000,), 1 / 4000)
    row_F = prototype_rows(feature_MF, target_M, sample_M, known_weight_VF, bias_V, [3])[0]
    # By hand: differences of 0.9, 0.9, 0 from the mean of all; variances of 1, 4, 1 plus 0.09
    # between the classes in the first two; a ridge of 0.2, a tenth of their mean.
    matrix_FF = torch.tensor([[1.29, 0.09, 0.0], [0.09, 4.29, 0.0], [0.0, 0.0, 1.2]])
    expected_F = torch.linalg.solve(matrix_FF, torch.tensor([0.9, 0.9, 0.0]))
    torch.testing.assert_close(row_F, expected_F, atol=0.08, rtol=0)


def test_examples_that_say_nothing_leave_no_direction():
    feature_MF = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    target_M = torch.ones(2000, dtype=torch.int64)
    target_M[:3] = 2
    sample_M = torch.full((2000,), 1 / 2000)
    weight_VF, bias_V = torch.zeros(2, 8), torch.zeros(3)
    row_F = prototype_rows(feature_MF, target_M, sample_M, weight_VF, bias_V, [2])[0]
    unshrunk_F = feature_MF[:3].mean(0) / 1.1
    assert row_F.norm() < 0.5 * unshrunk_F.norm()


def test_calibrated_biases_give_new_behaviors_their_shares():
    generator = torch.Generator().manual_seed(0)
    weight_VF = torch.randn(5, 4, generator=generator)
    bias_V, feature_MF = torch.zeros(5), torch.randn(300, 4, generator=generator)
    prior_V, sample_M = torch.tensor([0.0, 0.6, 0.3, 0.09, 0.01]), torch.full((300,), 1 / 300)
    calibrate_biases(weight_VF, bias_V, feature_MF, sample_M, prior_V, [3, 4])
    logits_MV = feature_MF @ weight_VF.T + bias_V
    logits_MV[:, 0] = -1e4
    mean_V = sample_M @ logits_MV.softmax(1)
    torch.testing.assert_close(mean_V[3:], prior_V[3:], rtol=1e-2, atol=0)
    assert torch.equal(bias_V[:3], torch.zeros(3))


@pytest.mark.parametrize("start", ["prototype", "cooccurrence", "noise"])
def test_a_grown_model_keeps_every_known_row(store, known, start):
    vocabulary = grown_vocabulary(store, known)
    support = choose_support(store, known, vocabulary, 5, 0)
    model = grown_model(store, known, vocabulary, support, start, seed=0)
    grown = dict(model.named_parameters())
    for name, value in known.load_model().named_parameters():
        assert torch.equal(grown[name][: len(value)], value), name
    is_mean = torch.allclose(grown["location.weight"][-1], grown["location.weight"][1:-1].mean(0), atol=0.2)
    assert is_mean or start == "noise"
    assert all(value.isfinite().all() for value in grown.values())


@pytest.mark.parametrize(
    ("train", "still"),
    [
        ("all", ()),
        ("head", ("blocks", "norm", "gate", "weekday", "slot", "query")),
        ("lora", ("norm", "gate", "weekday", "slot", "query")),
        ("new-rows", ("blocks", "norm", "gate", "weekday", "slot", "query", "head_in")),
    ],
)
def test_what_does_not_train_stays_to_the_bit(store, known, tmp_path, train, still, monkeypatch):
    config = AdaptConfig(train=train, examples=6, epochs=3, learning_rate=0.005, start="noise")
    # A trained epoch is kept, even if the start was better.
    monkeypatch.setattr(adaptation, "Start", lambda **fields: Start(**{**fields, "is_candidate": False}))
    adapted = adapt(store, known, tmp_path / "out", config)
    assert adapted.training.best_epoch > 0
    before = dict(known.load_model().named_parameters())
    after = dict(adapted.load_model().named_parameters())
    assert before.keys() == after.keys()
    for name, value in before.items():
        rows_stay = train in ("lora", "new-rows") and name.startswith("head_out")
        rows_stay |= train != "all" and name in ("event.weight", "location.weight")
        if rows_stay or name.startswith(still):
            assert torch.equal(after[name][: len(value)], value), name
        if len(after[name]) > len(value):
            assert after[name][len(value) :].isfinite().all()
    assert any(not torch.equal(after[n][: len(v)], v) for n, v in before.items()) != (train == "new-rows")


def test_the_log_share_is_learned_not_that_of_the_examples(store, known):
    support = support_of(store, known, 4)
    vocabulary = grown_vocabulary(store, known)
    model = grown_model(store, known, vocabulary, support, "prototype", seed=0)
    train_at_log_shares(model, support)
    feature_F = torch.zeros(model.head_in.out_features)
    offset_V = (model.train().head_out(feature_F) - model.eval().head_out(feature_F)).detach()
    r, prior = support.share[-1], support.prior[-1]
    expected = math.log(r / (1 - r)) - math.log(prior / (1 - prior))
    assert offset_V[-1].item() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(offset_V[:-1], torch.zeros_like(offset_V[:-1]))


def test_the_new_behavior_is_learned(store, known, tmp_path):
    config = AdaptConfig(examples=20, epochs=8, learning_rate=3e-3)
    adapted = adapt(store, known, tmp_path / "out", config)
    assert new_behaviors(known, adapted) == ["yoga"]
    assert adapted.training.origin["num_examples"] == {"yoga": 20}
    before = score_adaptation(store, known, ["yoga"])["network alone"]
    after = score_adaptation(store, adapted, ["yoga"])["network alone"]
    assert before.recall_at_5["yoga"] == 0
    assert after.recall_at_5["yoga"] > 0.5
    assert after.hr_at_1_known > before.hr_at_1_known - 0.1


def test_the_start_itself_is_kept_if_training_only_harms(store, known, tmp_path):
    config = AdaptConfig(examples=4, epochs=1, learning_rate=1.0)
    adapted = adapt(store, known, tmp_path / "out", config)
    assert adapted.training.best_epoch == 0
    support, vocabulary = support_of(store, known, 4), adapted.vocabulary
    start = grown_model(store, known, vocabulary, support, "prototype", seed=0).state_dict()
    kept = adapted.load_model().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in start.items())


def test_a_killed_adaptation_ends_as_one_that_was_not(store, known, tmp_path):
    config = AdaptConfig(train="lora", examples=6, epochs=4)
    adapt(store, known, tmp_path / "whole", config)

    def stop(progress):
        if progress.kind == "validation" and progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(store, known, tmp_path / "killed", config, on_progress=stop)
    assert (tmp_path / "killed" / RESUME_FILE).exists()
    other = dataclasses.replace(config, start="noise")
    with pytest.raises(ValueError, match="resume with the command that began it"):
        adapt(store, known, tmp_path / "killed", other, resume=True)
    adapt(store, known, tmp_path / "killed", config, resume=True)
    weights = [read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "killed")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_bad_input_is_refused_and_nothing_is_written(store, known, make_store, recipe, tmp_path):
    out = tmp_path / "out"
    config = AdaptConfig(examples=2, epochs=1)
    old = make_store([days(12, False, user) for user in range(12)])
    with pytest.raises(ValueError, match="no behavior that is new"):
        adapt(old, known, out, config)
    unfinished = dataclasses.replace(known, training=dataclasses.replace(known.training, finished=False))
    with pytest.raises(ValueError, match="not finished"):
        adapt(store, unfinished, out, config)
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("")
    with pytest.raises(ValueError, match="not part of a checkpoint"):
        adapt(store, known, out, config)
    assert [path.name for path in out.iterdir()] == ["mine"]
    with pytest.raises(ValueError, match="already holds a checkpoint"):
        adapt(store, known, known.path, config)


def test_a_known_event_keeps_its_meaning(known, make_store):
    behavior_of_event = {event: event for event in (*DAY, "yoga")} | {"coffee": None}
    store = make_store([days(12, True, user) for user in range(12)], behavior_of_event)
    with pytest.raises(ValueError, match=r"'coffee' stands for 'coffee' in .* for no behavior"):
        grown_vocabulary(store, known)


def test_a_checkpoint_of_another_version_is_refused(known, tmp_path):
    content = read_json(known.path / "config.json")
    write_json(tmp_path / "config.json", {**content, "format_version": 99}, seal=True)
    with pytest.raises(ValueError, match="version 99"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"train": "some"},
        {"start": "luck"},
        {"examples": -1},
        {"epochs": 0},
        {"rank": 0},
        {"learning_rate": 0.0},
        {"seed": -1},
    ],
)
def test_settings_are_checked(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        AdaptConfig(**change)
