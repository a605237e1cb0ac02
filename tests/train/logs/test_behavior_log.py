"""Which events become history, which become targets, and when they are asked for."""

from typing import Any

import numpy as np
import pytest

from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog

HOUR = 3600
# User 0 has events 0..5, user 1 none, user 2 has events 6..8. Known are 1 and 2, spare 3 and 4.
COLUMNS: dict[str, Any] = {
    "user_start": np.array([0, 6, 6, 9]),
    "mapped_behavior": np.array([1, -1, 2, 2, 3, 3, 2, 0, 1]),
    "location": np.arange(9),
    "time_s": HOUR * np.array([0, 1, 2, 3, 5, 9, 0, 2, 23]),
    "utc_offset_min": np.array([0, 0, 0, 0, 0, -120, 60, 60, 60]),
    "is_train": np.array([1, 1, 1, 0, 0, 0, 1, 0, 0], bool),
    "num_behaviors": 3,
    "num_spare": 2,
}


def test_events_without_a_behavior_are_left_out_of_the_history():
    log = BehaviorLog.of_columns(**COLUMNS)
    assert log.user_start.tolist() == [0, 5, 5, 8]
    user = log.user(0)
    assert user.behavior.tolist() == [1, 2, 2, 3, 3]
    assert user.event_index.tolist() == [0, 2, 3, 4, 5]
    assert user.location.tolist() == [0, 2, 3, 4, 5]
    assert (user.time_s // HOUR).tolist() == [0, 2, 3, 5, 9]
    assert user.utc_offset_min.tolist() == [0, 0, 0, 0, -120]
    assert len(log.user(1).behavior) == 0
    assert log.user(2).event_index.tolist() == [0, 1, 2]
    assert log.train_counts.tolist() == [0, 1, 2]


def test_targets_are_behaviors_with_a_history():
    log = BehaviorLog.of_columns(**COLUMNS)
    targets = log.targets(np.ones(9, bool))
    assert targets.event.tolist() == [2, 3, 4, 5, 7, 8]
    assert targets.row.tolist() == [1, 2, 3, 4, 6, 7]
    assert targets.user.tolist() == [0, 0, 0, 0, 2, 2]
    assert targets.behavior.tolist() == [2, 2, 0, 0, 0, 1]  # a spare id is never a target
    assert targets.last_behavior.tolist() == [1, 2, 2, 3, 2, 0]
    assert targets.is_switch.tolist() == [True, False, True, False, True, True]
    assert targets.is_repeat.tolist() == [False, True, False, True, False, False]
    assert len(log.targets(COLUMNS["is_train"])) == 1
    assert targets.take(targets.user == 2).event.tolist() == [7, 8]


def test_a_new_event_may_stand_for_a_known_behavior():
    target = np.where(COLUMNS["mapped_behavior"] >= 3, 0, COLUMNS["mapped_behavior"])
    target[5] = 2
    targets = BehaviorLog.of_columns(**COLUMNS, target=target).targets(np.ones(9, bool))
    assert targets.behavior.tolist() == [2, 2, 0, 2, 0, 1]
    assert targets.last_behavior.tolist() == [1, 2, 2, 3, 2, 0]
    assert targets.is_switch.tolist() == [True, False, True, True, True, True]


def test_asking_early_stops_at_the_event_before():
    on_time = BehaviorLog.of_columns(**COLUMNS)
    assert on_time.query_time_s.tolist() == on_time.time_s.tolist()
    early = BehaviorLog.of_columns(**COLUMNS, ask_early_s=3 * HOUR)
    # Row 1 (event 2, 2:00) follows an input-only event at 1:00; row 3 (5:00) follows 3:00.
    # The first event of a user has none before it.
    before = (early.query_time_s - on_time.time_s) // HOUR
    assert before.tolist() == [-3, -1, -1, -2, -3, -3, -2, -3]
    assert early.time_s.tolist() == on_time.time_s.tolist()
    unknown = BehaviorLog.of_columns(**COLUMNS, ask_early_s=None)
    assert set(unknown.query_time_s.tolist()) == {NO_TIME}


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match="behavior 3 lies outside 3 known and 0 spare ids"):
        BehaviorLog.of_columns(**{**COLUMNS, "num_spare": 0})
    with pytest.raises(ValueError, match=r"targets must lie in -1\.\.2"):
        BehaviorLog.of_columns(**COLUMNS, target=COLUMNS["mapped_behavior"])
