"""The gate's device keeps to the contract of the bundle."""

import numpy as np
import pytest

from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.parity.replay import ClientHistory, Device, spare_slots
from edgebehave_train.logs.mapped_log import map_log


def test_the_latest_names_of_the_users_own_get_the_slots():
    behavior = np.array([12, 3, 10, 11, 10, 2, 12, 10])
    candidates, owners = spare_slots(behavior, num_behaviors=10, num_spare=2)
    assert owners == [10, 12]  # 10 was used last, then 12; 11 is left without
    assert candidates.tolist() == [11, 3, 10, 0, 10, 2, 11, 10]
    assert behavior.tolist() == [12, 3, 10, 11, 10, 2, 12, 10]


def test_a_history_without_own_names_stays():
    candidates, owners = spare_slots(np.array([1, 2]), 10, 2)
    assert candidates.tolist() == [1, 2]
    assert owners == []


@pytest.fixture(scope="module")
def log(tiny_store, tiny_checkpoint):
    return map_log(tiny_store, tiny_checkpoint.vocabulary)


def test_unknown_names_get_private_ids_and_no_location_stays_no_location(log):
    vocabulary = log.vocabulary
    for user in range(5):
        history = ClientHistory.of_log(log, user)
        rows = slice(log.user_start[user], log.user_start[user + 1])
        assert ((history.event >= vocabulary.num_events) == (log.event[rows] == 0)).all()
        assert ((history.location == 0) == (log.location_identity[rows] == 0)).all()
        new_location = (log.location[rows] == 0) & (log.location_identity[rows] != 0)
        assert ((history.location >= vocabulary.num_locations) == new_location).all()


def test_prefill_and_steps_agree_and_a_rebuilt_state_is_equal(log, tiny_model, fp32_graphs, web_graphs):
    history = ClientHistory.of_log(log, 0)
    assert len(history) > tiny_model.config.receptive_field
    native, web = (Device(tiny_model.config, graph_bytes(graphs)) for graphs in (fp32_graphs, web_graphs))
    steps = web.stream(history)
    assert web.takes_many
    assert not native.takes_many
    np.testing.assert_allclose(native.stream(history), steps, atol=1e-5)
    np.testing.assert_allclose(web.prefill(history, 17), steps, atol=1e-5)
    for device in (native, web):
        np.testing.assert_array_equal(device.rebuild(history), device.stream(history)[-1])


def test_a_prediction_needs_a_behavior_to_look_back_on(log, tiny_model, fp32_graphs):
    device = Device(tiny_model.config, graph_bytes(fp32_graphs))
    history = ClientHistory.of_log(log, 0)
    with pytest.raises(ValueError, match="no behavior among the last 512 events"):
        device.question(np.zeros(32, np.float32), history, 0)
