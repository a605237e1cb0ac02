"""observe.onnx for the web: its parts beside the model's own layers equal their definitions."""

import numpy as np
import pytest
import torch

from edgebehave_export.graphs.clock import weekday_and_slot
from edgebehave_export.graphs.web_observe import Observe, cached_attention, known_or_unknown, rotary_circle
from edgebehave_train.model.attention import plan_attention, sliding_window_attention
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel, ModelConfig


def tiny_model(**changes):
    torch.manual_seed(0)
    sizes = {"num_events": 9, "num_locations": 7, "num_behaviors": 6, "width": 16, "num_heads": 2}
    return BehaviorModel(ModelConfig(**{**sizes, "num_layers": 2, "window": 5, **changes})).eval()


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
