"""Intervals by resampling users, against resamples written out and against theory."""

import numpy as np
import pytest

from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.metrics import bootstrap
from edgebehave_train.metrics.bootstrap import (
    Interval,
    metric_intervals,
    paired_differences,
    paired_mean_differences,
    user_resamples,
)
from edgebehave_train.metrics.prediction_metrics import MetricSums, evaluate_predictions
from edgebehave_train.metrics.ranking import Predictions

TRAIN_COUNTS = np.array([0, 600, 300, 60, 35, 5])


def random_predictions(seed: int, num_users: int = 30, skill: float = 0.3) -> Predictions:
    """Same targets for one number of users, ranks and top predictions by the seed."""
    world, generator = np.random.default_rng(7), np.random.default_rng(seed)
    user = np.sort(world.integers(0, num_users, 12 * num_users)) * 3 + 5  # gaps between indices
    behavior = world.choice(6, len(user), p=[0.05, 0.45, 0.25, 0.15, 0.07, 0.03])
    index = np.arange(len(user))
    targets = Targets(
        event=index,
        row=index,
        user=user,
        behavior=behavior,
        last_behavior=np.roll(behavior, 1),
        is_switch=behavior != np.roll(behavior, 1),
        is_repeat=behavior > 1,
    )
    hit = (generator.random(len(user)) < skill) & (behavior > 0)
    guess = generator.integers(1, 6, len(user))
    miss = np.where(guess == behavior, guess % 5 + 1, guess)
    return Predictions(
        targets=targets,
        num_greater=np.where(hit, 0, generator.integers(1, 6, len(user))).astype(np.int32),
        num_tied=generator.integers(1, 4, len(user)).astype(np.int32),
        predicted=np.where(hit, behavior, miss).astype(np.int32),
    )


def test_a_resample_is_the_metric_of_its_users_written_out():
    predictions = random_predictions(0)
    sums = MetricSums(predictions, TRAIN_COUNTS)
    users = np.unique(predictions.targets.user)
    weight = next(user_resamples(len(users), 4, seed=3, at_a_time=4))
    fast = sums.metrics(weight)
    for b in range(4):
        rows = np.concatenate(
            [
                np.tile(np.flatnonzero(predictions.targets.user == u), int(times))
                for u, times in zip(users, weight[b], strict=True)
            ]
        )
        written_out = Predictions(
            targets=predictions.targets.take(rows),
            num_greater=predictions.num_greater[rows],
            num_tied=predictions.num_tied[rows],
            predicted=predictions.predicted[rows],
        )
        slow = evaluate_predictions(written_out, TRAIN_COUNTS)
        for name, value in slow.items():
            assert fast[name][b] == pytest.approx(value, nan_ok=True), name


def test_intervals_are_seeded_and_do_not_depend_on_the_size_of_the_pieces(monkeypatch):
    predictions = random_predictions(0)
    whole = metric_intervals(predictions, TRAIN_COUNTS, num_resamples=50)
    assert whole == metric_intervals(predictions, TRAIN_COUNTS, num_resamples=50)
    assert whole != metric_intervals(predictions, TRAIN_COUNTS, num_resamples=50, seed=1)
    monkeypatch.setattr(bootstrap, "_TERMS_AT_A_TIME", 700)
    pieces = metric_intervals(predictions, TRAIN_COUNTS, num_resamples=50)
    for name, interval in whole.items():
        for end in ("value", "low", "high"):
            assert getattr(pieces[name], end) == pytest.approx(getattr(interval, end)), name


def test_intervals_hold_the_value_and_have_the_width_that_theory_gives():
    predictions = random_predictions(0, num_users=400)
    intervals = metric_intervals(predictions, TRAIN_COUNTS)
    for name, interval in intervals.items():
        assert interval.low <= interval.value <= interval.high, name
    # Users do not differ here, so the targets are independent: a binomial's standard error.
    accuracy = intervals["weighted_recall"]
    error = np.sqrt(accuracy.value * (1 - accuracy.value) / len(predictions))
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_dependent_targets_of_a_user_widen_the_interval():
    predictions = random_predictions(0, num_users=100)
    hit_user = predictions.targets.user % 2 == 0
    predicted = np.where(hit_user, np.maximum(predictions.targets.behavior, 1), 1)
    clustered = Predictions(
        targets=predictions.targets,
        num_greater=np.where(hit_user, 0, 5).astype(np.int32),
        num_tied=np.ones(len(predictions), np.int32),
        predicted=predicted.astype(np.int32),
    )
    interval = metric_intervals(clustered, TRAIN_COUNTS)["hr_at_1"]
    independent = 2 * 1.96 * np.sqrt(0.25 / len(predictions))
    assert interval.high - interval.low > 2 * independent


def test_paired_differences():
    good, bad = random_predictions(1, skill=0.6), random_predictions(2, skill=0.3)
    difference = paired_differences(good, bad, TRAIN_COUNTS)["weighted_recall"]
    values = [evaluate_predictions(p, TRAIN_COUNTS)["weighted_recall"] for p in (good, bad)]
    assert difference.value == pytest.approx(values[0] - values[1])
    assert difference.low > 0 or difference.high < 0
    itself = paired_differences(good, good, TRAIN_COUNTS)
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in itself.values())


def test_means_of_runs_differ_by_the_mean_of_all_pairs_and_more_narrowly():
    good = [random_predictions(seed, skill=0.5) for seed in range(4)]
    bad = [random_predictions(seed, skill=0.3) for seed in range(4, 8)]
    of_means = paired_mean_differences(good, bad, TRAIN_COUNTS)["hr_at_1"]
    pairs = [paired_differences(one, other, TRAIN_COUNTS)["hr_at_1"] for one, other in zip(good, bad, strict=True)]
    assert of_means.value == pytest.approx(np.mean([pair.value for pair in pairs]))
    widths = [pair.high - pair.low for pair in pairs]
    assert of_means.low < of_means.value < of_means.high
    assert of_means.high - of_means.low < 0.8 * np.mean(widths)


def test_paired_differences_need_the_same_targets():
    with pytest.raises(ValueError, match="same targets"):
        paired_differences(random_predictions(1), random_predictions(1, num_users=29), TRAIN_COUNTS)


def test_no_targets_is_an_error():
    predictions = random_predictions(0)
    nothing = Predictions(
        targets=predictions.targets.take(np.array([], int)),
        num_greater=np.array([], np.int32),
        num_tied=np.array([], np.int32),
        predicted=np.array([], np.int32),
    )
    with pytest.raises(ValueError, match="0 targets"):
        metric_intervals(nothing, TRAIN_COUNTS)


def test_the_texts_of_an_interval():
    one, alone = Interval(value=0.1, low=0.02, high=0.25), Interval(value=-0.1, low=np.nan, high=np.nan)
    assert (one.span(), one.signed()) == ("0.020-0.250", "+0.100 [+0.020, +0.250]")
    assert (alone.span(), alone.signed()) == ("", "-0.100")
