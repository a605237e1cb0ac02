"""Tuned weights: what they optimize, that they help unseen users, and the figures on real logs."""

import csv
import gzip
import os
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from edgebehave.habits import KERNELS, HabitWeights
from edgebehave_train.evaluation import habit_tuning
from edgebehave_train.evaluation.baselines import most_frequently_used
from edgebehave_train.evaluation.habit_baseline import habits
from edgebehave_train.evaluation.habit_tuning import tune_habits
from edgebehave_train.logs.behavior_log import BehaviorLog, Targets, draw_users
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions

DATA = os.environ.get("EDGEBEHAVE_DATA")


def make_log(num_users: int = 30, num_events: int = 80) -> BehaviorLog:
    """Users with a favorite successor of every behavior: the transition kernel is what helps."""
    generator = np.random.default_rng(0)
    behavior = np.ones((num_users, num_events), int)
    for user in range(num_users):
        successor = generator.permutation(8) + 1
        for j in range(1, num_events):
            habit = successor[behavior[user, j - 1] - 1]
            behavior[user, j] = habit if generator.random() < 0.7 else generator.integers(1, 9)
    return BehaviorLog.of_columns(
        user_start=np.arange(num_users + 1) * num_events,
        mapped_behavior=behavior.ravel(),
        location=np.zeros(behavior.size, int),
        time_s=np.tile(np.arange(num_events) * 5000, num_users),
        utc_offset_min=np.zeros(behavior.size, int),
        is_train=np.tile(np.arange(num_events) < 56, num_users),
        num_behaviors=9,
    )


@pytest.fixture(scope="module")
def log() -> BehaviorLog:
    torch.set_num_threads(1)
    return make_log()


@pytest.fixture(scope="module")
def targets(log: BehaviorLog) -> Targets:
    return log.targets(~log.is_train)


def test_the_objective_is_that_of_the_metrics(log, targets):
    listed = habit_tuning._list_candidates(log, targets)
    weights = HabitWeights(weight=(1, 0.1, 5, 1, 0.1, 0.2, 0.3, 0.2), popularity=0.3)
    metrics = evaluate_predictions(habits(log, targets, weights), log.train_counts)
    assert listed.objective(weights.to_vector()) == pytest.approx(
        metrics["hr_at_1"] + metrics["hr_at_3"], abs=2 / len(targets)
    )


def test_tuning_finds_the_kernel_that_matters_and_helps_users_it_has_not_seen(log, targets):
    seen = targets.user < 15
    weights = tune_habits(log, targets.take(seen))
    assert weights == tune_habits(log, targets.take(seen))
    assert np.argmax(weights.weight[:3]) == KERNELS.index("transition")
    unseen = targets.take(~seen)
    tuned, default = (evaluate_predictions(habits(log, unseen, w), log.train_counts) for w in (weights, None))
    assert tuned["hr_at_1"] > default["hr_at_1"] + 0.02
    assert tuned["hr_at_1"] > 0.55


def test_whole_users_are_drawn(targets):
    some = draw_users(targets, 100, seed=0)
    assert 100 <= len(some) < 100 + 24
    assert np.all(np.bincount(some.user)[np.unique(some.user)] == 24)
    assert len(draw_users(targets, len(targets), seed=0)) == len(targets)


def test_without_a_known_target_the_defaults_stay(log, targets):
    unknown = {**vars(targets), "behavior": np.zeros(len(targets), np.int64)}
    assert tune_habits(log, Targets(**unknown)) == HabitWeights()


# Real logs, when they are at hand: HR@1, HR@3 of MFU and of habits on the test part, from trials
# that cleaned the logs slightly differently.
REFERENCE = {
    "foursquare_nyc/checkins.csv.gz": ((0.306, 0.574), (0.393, 0.644)),
    "llmob_tokyo/trips_2019.csv.gz": ((0.143, 0.312), (0.196, 0.364)),
}


def read_real_log(path: Path) -> tuple[BehaviorLog, Targets, Targets]:
    """A log split by time 70 / 10 / 20, with its validation and its test targets."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = {tuple(sorted(row.items())) for row in csv.DictReader(file)}
    events = []
    for row in map(dict, rows):
        if "unix_utc" in row:
            time_s, offset_min = int(row["unix_utc"]), int(row["tz_offset_min"])
            location, behavior = row["poi_id"], row["category_name"]
        else:
            local = datetime.fromisoformat(row["local_time"] + "+00:00")
            time_s, offset_min = int(local.timestamp()), 0
            location, behavior = row["place"], row["category"]
        if behavior:
            events.append((row["user_id"], time_s, behavior, location, offset_min))
    events.sort()
    sizes = np.array([len(list(group)) for _, group in groupby(events, key=lambda e: e[0])])
    start = np.concatenate([[0], np.cumsum(sizes)])
    share = (np.arange(len(events)) - np.repeat(start[:-1], sizes)) / np.repeat(sizes, sizes)
    is_train = share < 0.7 - 1e-9
    _, name_id = np.unique([event[2] for event in events], return_inverse=True)
    counts = np.bincount(name_id[is_train], minlength=name_id.max() + 1)
    rank = np.empty(len(counts), int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    # What training does not hold comes last, as spare ids that all users share: harmless here.
    log = BehaviorLog.of_columns(
        user_start=start,
        mapped_behavior=1 + rank[name_id],
        location=1 + np.unique([event[3] for event in events], return_inverse=True)[1],
        time_s=np.array([event[1] for event in events]),
        utc_offset_min=np.array([event[4] for event in events]),
        is_train=is_train,
        num_behaviors=1 + int(np.count_nonzero(counts)),
        num_spare=int(np.count_nonzero(counts == 0)),
    )
    is_test = share >= 0.8 - 1e-9
    return log, log.targets(~is_train & ~is_test), log.targets(is_test)


@pytest.mark.skipif(not DATA, reason="EDGEBEHAVE_DATA names no folder with the real logs")
@pytest.mark.parametrize("name", REFERENCE)
def test_reference_figures_on_real_logs(name):
    torch.set_num_threads(1)
    path = Path(DATA or "") / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    log, validation, test = read_real_log(path)
    frequent = evaluate_predictions(most_frequently_used(log, test), log.train_counts)
    weights = tune_habits(log, validation)
    tuned = evaluate_predictions(habits(log, test, weights), log.train_counts)
    for k, mfu, reference in zip((1, 3), *REFERENCE[name], strict=True):
        assert frequent[f"hr_at_{k}"] == pytest.approx(mfu, abs=0.006)
        assert tuned[f"hr_at_{k}"] >= reference
