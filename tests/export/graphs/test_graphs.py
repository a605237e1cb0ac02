"""What the graph modules compute beside the model's own layers equals its definition."""

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgebehave import habits, time_features
from edgebehave_export.graphs.graphs import (
    Observe,
    cached_attention,
    known_or_unknown,
    rotary_circle,
    weekday_and_slot,
)
from edgebehave_export.graphs.history_graph import (
    KERNEL_ROWS,
    HistoryWeights,
    Moment,
    Timeline,
    rows_of_cues,
)
from edgebehave_train.kernels.cues import CUES
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from edgebehave_train.model.attention import plan_attention, sliding_window_attention
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel, ModelConfig

WEEK_S = 7 * 86400


def tiny_model(**changes):
    torch.manual_seed(0)
    sizes = {"num_events": 9, "num_locations": 7, "num_behaviors": 6, "width": 16, "num_heads": 2}
    return BehaviorModel(ModelConfig(**{**sizes, "num_layers": 2, "window": 5, **changes})).eval()


@pytest.fixture(scope="module")
def time_graph():
    """weekday_and_slot as ONNX Runtime runs it."""

    class Time(nn.Module):
        def forward(self, time_s, utc_offset_min):
            return weekday_and_slot(time_s, utc_offset_min)

    n = torch.export.Dim("n")
    program = torch.onnx.export(
        Time().eval(),
        (torch.arange(3), torch.arange(3) + 1),
        dynamo=True,
        input_names=["time_s", "utc_offset_min"],
        dynamic_shapes=({0: n}, {0: n}),
        opset_version=18,
        verbose=False,
    )
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString())


@pytest.mark.parametrize("offset", [0, 60, -300, 345, -570, 765, 7])
def test_weekday_and_slot_are_right_around_every_slot_edge(time_graph, offset):
    edges = np.arange(0, WEEK_S, time_features.SECONDS_PER_SLOT)
    weeks = np.array([-3000, -1, 0, 1, 2800, 4000]) * WEEK_S  # 1912 to 2046
    time_s = (weeks[:, None, None] + edges[:, None] + [-1, 0, 1]).ravel() - 60 * offset
    utc_offset_min = np.full_like(time_s, offset)
    expected = time_features.weekday_and_slot(time_s, utc_offset_min)
    computed = time_graph.run(None, {"time_s": time_s, "utc_offset_min": utc_offset_min})
    for right, got in zip(expected, computed, strict=True):
        np.testing.assert_array_equal(got, right)


def test_weekday_of_a_known_day():
    # 2024-02-29 23:59:59 UTC was a Thursday; an hour further east it is Friday, slot 1.
    weekday, slot = weekday_and_slot(torch.tensor([1709251199] * 2), torch.tensor([0, 60]))
    assert weekday.tolist() == [3, 4]
    assert slot.tolist() == [47, 1]


def test_ids_beyond_a_table_are_unknown():
    ids = known_or_unknown(torch.tensor([0, 4, 5, 6, 2**40]), 5)
    assert ids.tolist() == [0, 4, 0, 0, 0]


@pytest.mark.parametrize("head_width", [2, 8, 32, 64])
def test_rotary_circle_holds_the_whole_table(head_width):
    model = tiny_model(width=4 * head_width, num_heads=4)
    turns, cos, sin = rotary_circle(model)
    angle = torch.arange(ROTARY_PERIOD)[:, None] * turns % ROTARY_PERIOD
    # One unit in the last location: the tables round an angle that was not reduced first.
    torch.testing.assert_close(cos[angle, 0], model.rotary_cos, rtol=0, atol=1.2e-7)
    torch.testing.assert_close(sin[angle, 0], model.rotary_sin, rtol=0, atol=1.2e-7)


def test_attention_over_a_cache_equals_attention_over_everything():
    window, num_events = 5, 11
    query, key, value = torch.randn(3, num_events, 2, 8)
    plan = plan_attention(torch.zeros(1, num_events, dtype=torch.int64), window, "dense")
    expected = sliding_window_attention(query[None], key[None], value[None], plan)[0]
    torch.testing.assert_close(cached_attention(query, key, value, window), expected)
    # The last three events are new; the cache holds the window - 1 before them.
    seen = slice(num_events - 3 - (window - 1), None)
    cached = cached_attention(query[-3:], key[seen], value[seen], window)
    torch.testing.assert_close(cached, expected[-3:])


def coincidences(columns, asked_s, offset_min, time_known):
    """Kernels and cues of the graph, numpy, for a history given as columns."""
    moment = Moment(*map(torch.tensor, ([asked_s], [offset_min], [time_known])))
    history = torch.from_numpy(np.stack([column.astype(np.int64) for column in columns]))
    timeline = Timeline.of(history, moment)
    return [rows.numpy() for rows in HistoryWeights(None).coincidences(timeline)]


@settings(deadline=None, max_examples=60)
@given(
    num_behaviors=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    time_known=st.booleans(),
    late_s=st.integers(-100_000, 10**8),
)
def test_kernel_weights_equal_those_of_the_runtime(num_behaviors, seed, time_known, late_s):
    rng = np.random.default_rng(seed)
    history = habits.HabitHistory(
        behavior=rng.integers(1, 5, num_behaviors),
        location=rng.integers(0, 3, num_behaviors),
        time_s=np.sort(rng.integers(-(10**7), 10**7, num_behaviors)),
        utc_offset_min=rng.choice([0, 60, -570], num_behaviors),
    )
    asked_s = int(history.time_s[-1]) + late_s
    expected = habits.kernel_weights(history, asked_s if time_known else None, 60)
    columns = (history.behavior, history.location, history.time_s, history.utc_offset_min)
    got, _ = coincidences(columns, asked_s, 60, time_known)
    for row, name in zip(got, KERNEL_ROWS, strict=True):
        of_runtime = expected[habits.KERNELS.index(name)]
        np.testing.assert_allclose(row, of_runtime, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("start", [0, ROTARY_PERIOD - 3, 10 * ROTARY_PERIOD - 2])
def test_states_from_a_cache_equal_the_packed_forward_pass(start):
    model = tiny_model()
    window, num_events = model.config.window, 23
    rng = np.random.default_rng(start)
    event = torch.from_numpy(rng.integers(0, 9, num_events))
    location = torch.from_numpy(rng.integers(0, 7, num_events))
    time_s = torch.arange(num_events) * 5000
    offset = torch.full((num_events,), -210)
    weekday, slot = weekday_and_slot(time_s, offset)
    plan = plan_attention(torch.zeros(1, num_events, dtype=torch.int64), window, "dense")
    with torch.no_grad():
        expected = model.hidden(event[None], location[None], weekday[None], slot[None], plan)[0]
        cache = torch.zeros(2 * 2, 0, 2, 8)
        observe, position = Observe(model), 0
        for size in (1, 1, 4, 1, 9, 1, 6):
            now = slice(position, position + size)
            columns = (event[now], location[now], time_s[now], offset[now])
            hidden, new_rows = observe(*columns, torch.tensor(start + position), cache)
            cache = torch.cat([cache, new_rows], 1)[:, -(window - 1) :]
            torch.testing.assert_close(hidden, expected[now], rtol=1e-4, atol=1e-5)
            position += size
    assert position == num_events


@pytest.mark.parametrize("num_past", [1, 2, 3, 40])
@pytest.mark.parametrize("timed", [True, False])
def test_cues_of_the_graph_are_those_of_training(tiny_store, num_past, timed):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    log = map_log(tiny_store, training_vocabulary(tiny_store, is_train)).behavior_log(is_train)
    start = int(log.user_start[5])
    past, row = slice(start, start + num_past), start + num_past
    pairs = PastBehaviors(log, torch.device("cpu")).pairs(torch.tensor([row]), torch.tensor([timed]))
    columns = (log.behavior, log.location, log.time_s, log.utc_offset_min)
    columns = [column[past] for column in columns]
    asked_s, offset_min = int(log.query_time_s[row]), int(log.utc_offset_min[row])
    _, rows = coincidences(columns, asked_s, offset_min, timed)
    cues = rows_of_cues().numpy() @ rows
    for cue, got, expected in zip(CUES, cues, pairs.cues, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5, err_msg=cue)
