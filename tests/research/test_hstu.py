"""HSTU blocks: equal to their equations event by event, and nobody sees who must not be seen."""

import math

import pytest
import torch
import torch.nn.functional as F

from edgebehave_export.graphs.native_observe import native_observe
from edgebehave_export.graphs.onnx_export import export_observe
from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.metrics.scoring import hidden_states
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.training.pretraining import pretrain
from hstu import NUM_TIME_BUCKETS, HstuBlock, plan_hstu, time_bucket

NUM_EVENTS, WIDTH, NUM_HEADS = 23, 8, 2
SHAPE = {"num_events": 11, "num_locations": 5, "num_behaviors": 9}


def segments_and_times() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows: users of 1 to 9 events, padding at the end of the second; gaps up to 11 days."""
    generator = torch.Generator().manual_seed(0)
    lengths = ([9, 1, 5, 8], [2, 7, 7, 7])
    rows = [torch.repeat_interleave(torch.arange(4), torch.tensor(row)) for row in lengths]
    segment = torch.stack(rows)
    segment[1, -7:] = -1
    gap_s = (14 * torch.rand(segment.shape, generator=generator)).exp().long()
    return segment, 1_700_000_000 + gap_s.cumsum(1)


def random_block(window: int, dropout: float = 0.0) -> HstuBlock:
    torch.manual_seed(1)
    block = HstuBlock(WIDTH, NUM_HEADS, window, dropout)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block


def slow_block(block, x_TD, segment_T, time_s_T, window) -> torch.Tensor:
    """Equations 1 to 3, one pair of events at a time."""
    gate, value, query, key = F.silu(block.uvqk(block.input_norm(x_TD))).chunk(4, -1)
    attended = torch.zeros_like(x_TD)
    for t in range(len(x_TD)):
        for s in range(t + 1):
            if segment_T[s] != segment_T[t] or t - s >= window:
                continue
            apart_s = max(1, int(time_s_T[t] - time_s_T[s]))
            bias = block.distance_bias[t - s] + block.time_bias[int(math.log(apart_s) / 0.301)]
            for head in torch.arange(WIDTH).chunk(NUM_HEADS):
                weight = F.silu(query[t, head] @ key[s, head] + bias) / window
                attended[t, head] += weight * value[s, head]
    return x_TD + block.out(block.attention_norm(attended) * gate)


@pytest.mark.parametrize("window", [1, 4, 8, 40])
def test_a_block_equals_its_equations_event_by_event(window):
    (segment, time_s), block = segments_and_times(), random_block(window)
    x = torch.randn(2, NUM_EVENTS, WIDTH, generator=torch.Generator().manual_seed(2))
    fast = block(x, plan_hstu(segment, time_s, window))
    for row in range(2):
        slow = slow_block(block, x[row], segment[row], time_s[row], window)
        torch.testing.assert_close(fast[row], slow, atol=1e-5, rtol=1e-4)


def test_buckets_of_time_are_steps_of_a_third():
    seconds = torch.tensor([-5, 0, 1, 2, 60, 86_400, 5 * 365 * 86_400, 2**40])
    # ln 2 / 0.301 = 2.3, ln 60 / 0.301 = 13.6, ln 86400 / 0.301 = 37.8, ln(5 years) = 62.7
    assert time_bucket(seconds).tolist() == [0, 0, 0, 2, 13, 37, 62, NUM_TIME_BUCKETS - 1]


def test_events_reach_whom_they_may_and_nobody_else():
    (segment, time_s), window = segments_and_times(), 4
    block = random_block(window)
    plan = plan_hstu(segment, time_s, window)
    for t in range(NUM_EVENTS):
        x = torch.randn(2, NUM_EVENTS, WIDTH, requires_grad=True)
        block(x, plan)[0, t].sum().backward()
        seen = [s for s in range(max(0, t - window + 1), t + 1) if segment[0, s] == segment[0, t]]
        assert x.grad[0].abs().sum(1).nonzero()[:, 0].tolist() == seen
        assert not x.grad[1].any()


def make_model(**changes) -> BehaviorModel:
    torch.manual_seed(3)
    shape = {**SHAPE, "width": 16, "num_layers": 2, "num_heads": 2, "window": 4}
    return BehaviorModel(ModelConfig(**{**shape, "attention": "hstu", **changes})).eval()


def random_events(num_events: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(0, 5, (1, num_events), generator=generator) for _ in range(4)]


def states(model, events, time_s, segment=None) -> torch.Tensor:
    segment = torch.zeros_like(time_s) if segment is None else segment
    with torch.no_grad():
        return model.hidden(*events, model.blocks.plan(segment, time_s, "blockwise"))[0]


def test_states_depend_on_the_past_alone_and_on_its_times():
    model, events = make_model(), random_events(20)
    time_s = 3600 * torch.arange(20)[None].square()
    before = states(model, events, time_s)
    for column in range(4):
        changed = [x.clone() for x in events]
        changed[column][0, 12] = (changed[column][0, 12] + 1) % 5
        after = states(model, changed, time_s)
        assert torch.equal(before[:12], after[:12])
        assert not torch.equal(before[12], after[12])
    later = time_s.clone()
    later[0, 12:] += 50_000
    differs = (states(model, events, later) != before).any(-1).nonzero()[:, 0].tolist()
    # Only pairs across the pause change, as far as two layers of window 4 carry them.
    assert differs[0] == 12
    assert differs[-1] < 12 + 2 * 3
    moved = states(model, events, time_s + 7_777)
    torch.testing.assert_close(moved, before, msg="only differences of time may matter")


def test_users_in_one_row_have_the_states_they_have_alone():
    model, lengths = make_model(), [1, 3, 4, 5, 30]
    events = random_events(sum(lengths))
    time_s = 977 * torch.arange(sum(lengths))[None]
    segment = torch.repeat_interleave(torch.arange(5), torch.tensor(lengths))[None]
    packed = states(model, events, time_s, segment).split(lengths)
    starts = [sum(lengths[:i]) for i in range(5)]
    for row, start in zip(packed, starts, strict=True):
        user = slice(start, start + len(row))
        alone = states(model, [x[:, user] for x in events], time_s[:, user])
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_with_hstu_trains_resumes_its_shape_and_is_scored(tiny_store, recipe, tmp_path):
    config = recipe(attention="hstu", query_context="none", habits=False)
    checkpoint = pretrain(tiny_store, config, tmp_path / "hstu", device="cpu")
    assert checkpoint.model_config.attention == "hstu"
    assert checkpoint.training.attention == "blockwise"
    losses = checkpoint.training.validation_nll
    assert losses[-1] < losses[0] < math.log(checkpoint.vocabulary.num_behaviors) + 0.2
    assert len(predict_part(tiny_store, checkpoint)) > 100
    # Whole users in long rows, as evaluation packs them, against one user alone.
    model, log = checkpoint.load_model(), map_log(tiny_store, checkpoint.vocabulary)
    ranges = tiny_store.user_start[:3, None] + [[0, 40]]
    (positions, packed), *_ = hidden_states(model, log, ranges)
    _, alone = next(hidden_states(model, log, ranges[1:2]))
    inside = (positions >= ranges[1, 0]) & (positions < ranges[1, 1])
    torch.testing.assert_close(packed[torch.from_numpy(inside)], alone, atol=1e-5, rtol=1e-5)


def test_no_bundle_is_made_of_it():
    with pytest.raises(ValueError, match="attention hstu runs in training and evaluation alone"):
        export_observe(make_model())
    with pytest.raises(ValueError, match="attention hstu runs in training and evaluation alone"):
        native_observe(make_model())


def test_an_unknown_attention_is_refused():
    with pytest.raises(ValueError, match=r"attention must be softmax.* or .*, got 'linear'"):
        make_model(attention="linear")
