"""The parity gate's histories: real, of the validation part, and long enough to wrap."""

import numpy as np
import pytest

from edgebehave.time_features import weekday_and_slot
from edgebehave_export.parity.gate_log import gate_log
from edgebehave_train.logs.split import SplitConfig


def test_users_are_added_until_enough_is_asked(tiny_store):
    """Their validation events, all of them and nothing else."""
    gate = gate_log(tiny_store, SplitConfig(), window=12, num_predictions=100)
    real = gate.store.user_start[gate.store.num_users - gate.num_joined]
    asked = gate.asked[:real].reshape(-1, 48)  # without the test part
    assert asked.any(0).nonzero()[0].tolist() == list(range(42, 48))
    asked_behaviors = gate.asked[:real] & (gate.store.behavior[:real] >= 0)
    assert 100 <= asked_behaviors.sum() < 110


def test_a_small_validation_part_is_joined_by_what_stands_before(tiny_store):
    gate = gate_log(tiny_store, SplitConfig(), window=12, num_predictions=1000)
    num_real = gate.store.num_users - gate.num_joined
    assert num_real == tiny_store.num_users
    real = gate.store.user_start[num_real]
    assert 1000 <= gate.asked[:real].sum() <= 1000 + num_real
    assert gate.asked[:real].reshape(-1, 48)[:, 42:].all()


def test_users_are_joined_where_none_is_long(tiny_store):
    gate = gate_log(tiny_store, SplitConfig(), window=12)
    assert gate.num_joined == 3
    lengths = np.diff(gate.store.user_start)
    assert (lengths[-3:] >= 512 + 2 * 12).all()
    # Time goes forward where one user's stream follows another's, by whole weeks.
    for user in range(gate.store.num_users):
        rows = slice(gate.store.user_start[user], gate.store.user_start[user + 1])
        assert (np.diff(gate.store.time_s[rows]) >= 0).all()
    joined = slice(gate.store.user_start[-4], None)
    columns = ("event", "location", "utc_offset_min")
    moments = zip(
        *(getattr(gate.store, name)[joined] for name in columns),
        *weekday_and_slot(gate.store.time_s[joined], gate.store.utc_offset_min[joined]),
        strict=True,
    )
    real = zip(
        *(getattr(tiny_store, name) for name in columns),
        *weekday_and_slot(tiny_store.time_s, tiny_store.utc_offset_min),
        strict=True,
    )
    assert set(moments) <= set(real)


def test_the_gate_stays_small(tiny_store):
    few = gate_log(tiny_store, SplitConfig(), window=12, num_predictions=30)
    assert few.store.num_users < 12
    short = gate_log(tiny_store, SplitConfig(), window=12, max_history=20)
    assert np.diff(short.store.user_start)[:40].max() == 20
    # All forty users have 800 events so short, enough for one history of 536.
    assert short.num_joined == 1
    assert gate_log(tiny_store, SplitConfig(), 12, max_events=200).store.num_users == 5 + 3


def test_a_log_without_validation_part_is_refused(tiny_store):
    with pytest.raises(ValueError, match="no validation part"):
        gate_log(tiny_store, SplitConfig(by="user", train=0.98, validation=0.01), window=12)
