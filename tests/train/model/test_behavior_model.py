"""The network: what it may look at, its clock of positions, and the mixture with the kernels."""

import pytest
import torch

from edgebehave.habits import HABIT_EVENTS, KERNELS, HabitWeights
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import (
    ROTARY_PERIOD,
    UNKNOWN_TIME,
    BehaviorModel,
    ModelConfig,
    rotary_table,
    rotate,
)

SHAPE = {
    "num_events": 11,
    "num_locations": 5,
    "num_behaviors": 9,
    "width": 16,
    "num_layers": 2,
    "num_heads": 2,
    "window": 4,
    "learned_kernel": False,
}
K = len(KERNELS)


def make_model(seed: int = 0, **changes) -> BehaviorModel:
    """A model in evaluation mode whose every weight matters: gates and embeddings are drawn."""
    torch.manual_seed(seed)
    model = BehaviorModel(ModelConfig(**{**SHAPE, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def random_events(num_events: int, seed: int = 0) -> list[torch.Tensor]:
    """event, location, weekday, slot of one row, (1, T) each."""
    generator = torch.Generator().manual_seed(seed)
    limits = (SHAPE["num_events"], SHAPE["num_locations"], NUM_WEEKDAYS, NUM_SLOTS)
    return [torch.randint(0, limit, (1, num_events), generator=generator) for limit in limits]


def states(model: BehaviorModel, events, segment=None) -> torch.Tensor:
    """(T, D) of one row."""
    segment = torch.zeros_like(events[0]) if segment is None else segment[None]
    plan = plan_attention(segment, model.config.window, "blockwise")
    with torch.no_grad():
        return model.hidden(*events, plan)[0]


def random_mixture(num_targets: int = 6, seed: int = 0):
    """z, evidence (some zero), and kernel distributions (M, K, V) without mass on id 0."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(num_targets, SHAPE["width"], generator=generator)
    evidence = torch.rand(num_targets, K, generator=generator) * 20
    evidence[torch.rand(num_targets, K, generator=generator) < 0.4] = 0
    mass = torch.rand(num_targets, K, SHAPE["num_behaviors"], generator=generator)
    mass[..., 0] = 0
    return z, evidence, mass / mass.sum(-1, keepdim=True) * (evidence > 0)[..., None]


# -- what a state depends on ------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("num_last", [1, 3, 4, 9, 20])
def test_the_last_states_alone_equal_those_of_whole_rows(num_layers, num_last):
    model = make_model(num_layers=num_layers)
    rows = [torch.cat(column) for column in zip(*(random_events(20, seed) for seed in range(3)), strict=True)]
    # Users end inside of rows; the last row begins with padding.
    segment = torch.stack([torch.arange(20) // length for length in (5, 20, 40)])
    segment[2, :7] = -1
    whole, narrow = (model.blocks.plan(segment, segment, "blockwise", last) for last in (None, num_last))
    with torch.no_grad():
        expected, found = model.hidden(*rows, whole), model.hidden(*rows, narrow)
    assert found.shape == (3, num_last, SHAPE["width"])
    torch.testing.assert_close(found, expected[:, -num_last:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("column", range(4))
def test_a_later_event_changes_no_earlier_state(column):
    model, events = make_model(), random_events(20)
    before = states(model, events)
    changed = [x.clone() for x in events]
    changed[column][0, 12] = (changed[column][0, 12] + 1) % 5
    after = states(model, changed)
    assert torch.equal(before[:12], after[:12])
    assert not torch.equal(before[12], after[12])


@pytest.mark.parametrize(("num_layers", "window"), [(1, 4), (2, 4), (3, 3), (2, 1)])
def test_states_reach_back_to_the_receptive_field_and_no_further(num_layers, window):
    model = make_model(num_layers=num_layers, window=window)
    reach = model.config.receptive_field
    assert reach == num_layers * (window - 1) + 1
    events = random_events(24)
    before = states(model, events)
    changed = [x.clone() for x in events]
    changed[0][0, 5] = (changed[0][0, 5] + 1) % SHAPE["num_events"]
    differs = (states(model, changed) != before).any(-1)
    assert differs.nonzero()[:, 0].tolist() == list(range(5, 5 + reach))


def test_users_in_one_row_have_the_states_they_have_alone():
    # Nine users of 1 to 190 events: the row passes the rotary period, and one user stands on it.
    model = make_model()
    lengths = [1, 3, 4, 5, 190, 100, 150, 120, 41]
    assert sum(lengths[:7]) < ROTARY_PERIOD < sum(lengths[:8])
    events = random_events(sum(lengths))
    segment = torch.repeat_interleave(torch.arange(9), torch.tensor(lengths))
    packed = states(model, events, segment).split(lengths)
    users = zip(*(column.split(lengths, 1) for column in events), strict=True)
    for row, user in zip(packed, users, strict=True):
        torch.testing.assert_close(row, states(model, user), atol=1e-5, rtol=1e-5)


# -- positions --------------------------------------------------------------------------------


@pytest.mark.parametrize("head_width", [2, 8, 64])
def test_rotary_angles_close_after_one_period_exactly(head_width):
    cos, sin = rotary_table(head_width)
    assert cos.shape == sin.shape == (ROTARY_PERIOD, head_width // 2)
    step = torch.atan2(sin[1].double(), cos[1].double()) * ROTARY_PERIOD / (2 * torch.pi)
    turns = step.round()
    assert (step - turns).abs().max() < 1e-4, "whole turns per period"
    assert turns.min() >= 1
    angle = torch.arange(ROTARY_PERIOD).double()[:, None] * 2 * torch.pi * turns / ROTARY_PERIOD
    torch.testing.assert_close(cos, angle.cos().float())
    torch.testing.assert_close(sin, angle.sin().float())


def test_only_distances_matter_and_they_wrap_at_the_period():
    cos, sin = rotary_table(8)
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))

    def score(query_position, key_position):
        q, k = (p % ROTARY_PERIOD for p in (query_position, key_position))
        return rotate(query, cos[q], sin[q]) @ rotate(key, cos[k], sin[k])

    near = score(10, 4)
    torch.testing.assert_close(score(ROTARY_PERIOD + 3, ROTARY_PERIOD - 3), near)
    torch.testing.assert_close(score(40 * ROTARY_PERIOD, 40 * ROTARY_PERIOD - 6), near)
    assert abs(score(10, 5) - near) > 1e-3


def test_rotation_keeps_lengths():
    cos, sin = rotary_table(8)
    x = torch.randn(ROTARY_PERIOD, 8)
    torch.testing.assert_close(rotate(x, cos, sin).norm(dim=1), x.norm(dim=1))


# -- the query --------------------------------------------------------------------------------


def test_without_a_query_context_the_state_is_the_query():
    model = make_model(query_context="none")
    hidden = torch.randn(3, 16)
    z = model.query(hidden, torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7]))
    assert z is hidden
    assert not [name for name in model.state_dict() if name.startswith("query_")]


def test_an_unknown_time_has_a_row_of_its_own():
    model = make_model(query_context="time")
    hidden = torch.zeros(1, 16)
    unknown = model.query(hidden, torch.tensor([UNKNOWN_TIME]), torch.tensor([UNKNOWN_TIME]))
    expected = model.query_weekday.weight[NUM_WEEKDAYS] + model.query_slot.weight[NUM_SLOTS]
    assert torch.equal(unknown[0], expected)
    known = model.query(hidden, torch.tensor([6]), torch.tensor([47]))
    assert torch.equal(known[0], model.query_weekday.weight[6] + model.query_slot.weight[47])


def test_a_query_location_is_used_where_it_is_configured():
    model = make_model(query_context="time_location")
    moment = torch.zeros(2, 16), torch.tensor([1, 1]), torch.tensor([9, 9])
    with pytest.raises(ValueError, match="the query needs a location"):
        model.query(*moment)
    z = model.query(*moment, torch.tensor([0, 3]))
    assert not torch.equal(z[0], z[1])
    assert not hasattr(make_model(query_context="time"), "query_location")


# -- the mixture ------------------------------------------------------------------------------


def test_the_mixture_is_a_distribution_over_the_known_behaviors():
    model = make_model()
    z, evidence, probs = random_mixture()
    candidates = range(1, SHAPE["num_behaviors"])
    total = sum(model.nll(z, torch.full((6,), b), probs[..., b], evidence)[0].neg().exp() for b in candidates)
    torch.testing.assert_close(total, torch.ones(6), atol=1e-5, rtol=0)


def test_the_unknown_behavior_is_never_a_candidate():
    probs = make_model().logits(torch.randn(5, 16)).softmax(-1)
    assert torch.equal(probs[:, 0], torch.zeros(5))
    assert (probs[:, 1:] > 0).all()


def test_a_kernel_without_evidence_has_no_gate():
    model = make_model()
    z, evidence, _ = random_mixture()
    gates = model.log_gates(z, evidence).exp()
    assert torch.equal(gates[:, 1:] > 0, evidence > 0)
    torch.testing.assert_close(gates.sum(1), torch.ones(6))
    nothing_known = model.log_gates(z, torch.zeros(6, K)).exp()
    assert torch.equal(nothing_known[:, 0], torch.ones(6))


def test_the_network_is_heard_as_far_as_it_knows_the_names():
    model = make_model()
    z, evidence, _ = random_mixture()
    evidence[:, 0] = 15.0  # behaviors in the past
    gates = model.log_gates(z, evidence).exp()
    all_known = model.gates(z, evidence, torch.full((6,), 15.0))
    torch.testing.assert_close(all_known, gates)
    a_quarter = model.gates(z, evidence, torch.zeros(6))  # 5 / (15 + 5)
    torch.testing.assert_close(a_quarter.sum(1), torch.ones(6))
    odds = gates[:, 0] / gates[:, 1:].sum(1)
    torch.testing.assert_close(a_quarter[:, 0] / a_quarter[:, 1:].sum(1), odds / 4)
    no_past = model.gates(z, torch.zeros(6, K), torch.zeros(6))
    torch.testing.assert_close(no_past[:, 0], torch.ones(6))


def test_the_network_alone_decides_without_history():
    model = make_model()
    z, target = torch.randn(4, 16), torch.tensor([1, 2, 3, 8])
    nll, network_nll, *_ = model.nll(z, target, torch.zeros(4, K), torch.zeros(4, K))
    torch.testing.assert_close(nll, network_nll)
    expected = -model.logits(z).log_softmax(-1)[torch.arange(4), target]
    torch.testing.assert_close(network_nll, expected)


def test_kernels_start_with_the_voices_of_the_fixed_mixture():
    torch.manual_seed(0)
    model = BehaviorModel(ModelConfig(**SHAPE)).eval()
    fixed = HabitWeights()
    evidence = random_mixture()[1] + (torch.arange(K) == 0)  # each has some
    voice = torch.tensor(fixed.weight) * evidence / (evidence + torch.tensor(fixed.shrinkage))
    kernels = model.log_gates(torch.randn(6, 16), evidence).exp()[:, 1:]
    shares = kernels / kernels.sum(1, keepdim=True)
    torch.testing.assert_close(shares, voice / voice.sum(1, keepdim=True))


def test_experts_are_dropped_in_training_and_never_the_network():
    model = make_model(dropout=0.0, expert_dropout=0.5)
    z, evidence, probs = random_mixture()
    target = torch.tensor([1, 2, 3, 4, 5, 6])
    inputs = z, target, probs[torch.arange(6), :, target], evidence
    assert torch.equal(model.nll(*inputs)[0], model.nll(*inputs)[0])
    model.train()
    torch.manual_seed(3)
    first, network_first, *_ = model.nll(*inputs)
    second, network_second, *_ = model.nll(*inputs)
    assert not torch.equal(first, second)
    assert torch.equal(network_first, network_second)
    gates = model.log_gates(z, evidence, torch.zeros(6, K, dtype=torch.bool)).exp()
    assert torch.equal(gates[:, 0], torch.ones(6))


def test_without_habits_the_loss_is_the_networks():
    model = make_model(habits=False)
    assert not [name for name in model.state_dict() if "gate" in name or "shrinkage" in name]
    z, evidence, probs = random_mixture()
    target = torch.ones(6, dtype=torch.int64)
    losses = model.nll(z, target, probs[..., 1], evidence, log_ratio_V=torch.randn(9))
    assert torch.equal(losses.nll, losses.network_nll)
    assert torch.equal(losses.log_normalizer, losses.network_log_normalizer)
    assert losses.log_normalizer.any()


def test_the_normalizer_is_the_sum_over_all_behaviors_of_probability_times_ratio():
    model = make_model()
    z, evidence, probs_MKV = random_mixture()
    log_ratio_V = torch.linspace(-6, 0, 9)
    normalizers_MK = probs_MKV @ log_ratio_V.exp()
    log_normalizer = network_log_normalizer = torch.full((6,), -torch.inf)
    for b in range(1, 9):
        target = torch.full((6,), b)
        losses = model.nll(z, target, probs_MKV[..., b], evidence, None, log_ratio_V, normalizers_MK)
        log_normalizer = torch.logaddexp(log_normalizer, log_ratio_V[b] - losses.nll)
        network_log_normalizer = torch.logaddexp(network_log_normalizer, log_ratio_V[b] - losses.network_nll)
    torch.testing.assert_close(losses.log_normalizer, log_normalizer, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses.network_log_normalizer, network_log_normalizer, atol=1e-5, rtol=1e-5)


def test_without_a_shift_there_is_no_normalizer():
    z, evidence, probs_MKV = random_mixture()
    losses = make_model().nll(z, torch.ones(6, dtype=torch.int64), probs_MKV[..., 1], evidence)
    assert not losses.log_normalizer.any()
    assert not losses.network_log_normalizer.any()


# -- the configuration ------------------------------------------------------------------------


def test_a_device_keeps_what_state_and_kernels_look_back_on():
    assert ModelConfig(**SHAPE).history_events == HABIT_EVENTS
    wide = ModelConfig(**{**SHAPE, "num_layers": 8, "window": 90})
    assert wide.receptive_field == 8 * 89 + 1
    assert wide.history_events == wide.receptive_field + 88  # to begin at a multiple of 89


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 18}, "width must be divisible by 4 and by num_heads, got width 18"),
        ({"num_heads": 3}, "got width 16 and num_heads 3"),
        ({"width": 12, "num_heads": 4}, "even head width, got 3"),
        ({"query_context": "location"}, "query_context must be none, time or time_location"),
        ({"num_events": 0}, "num_events must be at least 1, got 0"),
        ({"num_locations": 0}, "num_locations must be at least 1"),
        ({"num_behaviors": -1}, "num_behaviors must be at least 1, got -1"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"window": 0}, "window must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1\.0"),
        ({"expert_dropout": -0.1}, "expert_dropout must lie in"),
        ({"query_dropout": 2.0}, "query_dropout must lie in"),
    ],
)
def test_a_bad_shape_names_the_field_and_its_value(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**SHAPE, **change})
