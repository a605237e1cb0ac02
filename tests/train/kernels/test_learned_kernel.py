"""The learned kernel: cues by their definition, probabilities by hand, nothing from the future."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgebehave_train.kernels import pairs as pairs_module
from edgebehave_train.kernels.cues import CLOCK_WIDTHS, CUES, GAP_WIDTHS
from edgebehave_train.kernels.learned_kernel import LearnedKernel
from edgebehave_train.kernels.pairs import PairBlock, PastBehaviors
from edgebehave_train.logs.behavior_log import NO_TIME
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def behaviors(tiny_store):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    return map_log(tiny_store, training_vocabulary(tiny_store, is_train)).behavior_log(is_train)


def slow_cues(log, row, j, oldest, time_known):
    """The cues of one past behavior, word for word as in the table of `history_cues`."""

    def local(time_s, at):
        minutes = time_s // 60 + int(log.utc_offset_min[at])
        return (minutes // 1440 + 3) % 7, minutes % 1440 // 30

    def log_gap(seconds):
        return math.log1p(max(seconds, 0) / 600)

    b, location, t, last = log.behavior, log.location, log.time_s, row - 1
    weekday, slot = local(int(t[j]), j)
    query_weekday, query_slot = local(int(log.query_time_s[row]), row)
    apart = abs(slot - query_slot)
    apart = min(apart, 48 - apart)
    waited = log_gap(t[j] - t[j - 1]) if j > oldest else 0.0
    wait = log_gap(log.query_time_s[row] - t[last])
    same_last = j > oldest and b[j - 1] == b[last]
    cues = [
        math.log1p(last - j),
        j == last,
        math.log1p((t[last] - t[j]) / 3600),
        same_last,
        same_last and j > oldest + 1 and b[j - 2] == b[last - 1],
        j > oldest and location[j - 1] == location[last],
        b[j] == b[last],
        last - 1 >= oldest and b[j] == b[last - 1],
        location[j] == location[last],
        waited,
    ]
    timed = [
        *(math.exp(-0.5 * (apart / width) ** 2) for width in CLOCK_WIDTHS),
        weekday == query_weekday,
        (weekday >= 5) == (query_weekday >= 5),
        *(math.exp(-0.5 * ((waited - wait) / width) ** 2) for width in GAP_WIDTHS),
        wait,
        1,
    ]
    return [float(cue) for cue in [*cues, *(value * time_known for value in timed)]]


@pytest.mark.parametrize("history_events", [7, 512])
def test_cues_are_those_of_their_table(behaviors, history_events):
    past = PastBehaviors.of_log(behaviors, CPU, history_events)
    # The second behavior of a user, an early one, a late one; two users.
    start = behaviors.user_start
    rows = np.array([start[0] + 1, start[0] + 2, start[0] + 30, start[3] + 20, start[4] - 1])
    known = np.array([True, True, False, True, False])
    pairs = past.pairs(torch.from_numpy(rows), torch.from_numpy(known))
    expected, behavior, query = [], [], []
    for q, row in enumerate(rows):
        user = np.searchsorted(start, row, side="right") - 1
        index = behaviors.event_index
        oldest = next(j for j in range(start[user], row + 1) if index[j] >= index[row] - history_events)
        for j in range(oldest, row):
            expected.append(slow_cues(behaviors, row, j, oldest, known[q]))
            behavior.append(behaviors.behavior[j])
            query.append(q)
    assert pairs.query.tolist() == query
    assert pairs.behavior.tolist() == behavior
    assert pairs.cues.shape == (len(CUES), len(query))
    np.testing.assert_allclose(pairs.cues.T.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_query_sees_nothing_of_its_own_event_or_later(tiny_store, behaviors):
    row = int(behaviors.user_start[2]) + 25
    changed = {name: np.array(getattr(behaviors, name)) for name in ("behavior", "location")}
    changed["behavior"][row:] = 1
    changed["location"][row:] = 0
    before = PastBehaviors.of_log(behaviors, CPU)
    after = replace(before, **{name: torch.from_numpy(column).int() for name, column in changed.items()})
    asked = torch.tensor([row]), torch.tensor([True])
    assert torch.equal(before.pairs(*asked).cues, after.pairs(*asked).cues)
    assert before.pairs(*asked).behavior.max() > 1


def test_without_a_query_time_nothing_depends_on_when_the_target_came(tiny_store):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    log = map_log(tiny_store, training_vocabulary(tiny_store, is_train))
    timed, untimed = log.behavior_log(is_train), log.behavior_log(is_train, None)
    assert (untimed.query_time_s == NO_TIME).all()
    rows, unknown = torch.arange(5, 9), torch.zeros(4, dtype=torch.bool)
    one = PastBehaviors.of_log(timed, CPU).pairs(rows, unknown).cues
    other = PastBehaviors.of_log(untimed, CPU).pairs(rows, unknown).cues
    assert torch.equal(one, other)


@pytest.mark.parametrize("pairs_at_once", [1, 100, 1 << 20])
def test_blocks_hold_the_pairs_of_every_query_latest_first(behaviors, pairs_at_once, monkeypatch):
    monkeypatch.setitem(pairs_module._PAIRS_AT_ONCE, "cpu", pairs_at_once)
    past = PastBehaviors.of_log(behaviors, CPU, 20)
    start = behaviors.user_start
    rows = torch.from_numpy(np.concatenate([start[:4], start[2:5] - 1, start[:3] + 7]))
    known = torch.arange(len(rows)) % 2 == 0
    whole = past.pairs(rows, known)
    seen = 0
    for block in past.blocks(rows, known):
        cues = block.coincidences.cues()
        for r, query in enumerate(block.query.tolist()):
            mine = (whole.query == query).nonzero()[:, 0].flip(0)
            assert block.seen[r].tolist() == [True] * len(mine) + [False] * (block.seen.shape[1] - len(mine))
            assert torch.equal(block.behavior[r, : len(mine)], whole.behavior[mine])
            # The last bit of a power depends on its place in memory.
            torch.testing.assert_close(cues[:, r, : len(mine)], whole.cues[:, mine], rtol=1e-6, atol=0)
            seen += len(mine)
    assert seen == len(whole.query)


def test_sums_and_gradients_are_those_of_all_pairs_at_once(behaviors):
    past = replace(PastBehaviors.of_log(behaviors, CPU, 30), ratio=torch.rand(len(behaviors.event)))
    rows = torch.arange(3, 400, 7)
    known = torch.rand(len(rows)) < 0.7
    target = past.behavior[rows].long()
    kernel = LearnedKernel(4)
    with torch.no_grad():
        for weight in kernel.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
        kernel.linear.bias[-1] += 18  # some scores reach the bound
    z = torch.randn(len(rows), 4, requires_grad=True)
    wanted = torch.randn(3, len(rows))
    slow_z, fast_z = (z.detach().clone().requires_grad_() for _ in range(2))
    pairs = past.pairs(rows, known)
    weight, evidence = kernel.weights(slow_z, pairs)

    def mean(values):
        return torch.zeros(len(rows)).index_add(0, pairs.query, weight * values) / evidence.clamp_min(1e-9)

    ratio = past.ratio[torch.cat([torch.arange(past.oldest[row], row) for row in rows])]
    slow = mean((pairs.behavior == target[pairs.query]).float()), evidence.log1p(), mean(ratio)
    gradients = []
    numbers = kernel.target_numbers(fast_z, past.blocks(rows, known), target, shifts_prior=True)
    fast = numbers.probs, numbers.evidence.log1p(), numbers.normalizer
    for values, own_z in ((slow, slow_z), (fast, fast_z)):
        kernel.zero_grad()
        sum((w * v).sum() for w, v in zip(wanted, values, strict=True)).backward()
        gradients.append([own_z.grad, *(p.grad.clone() for p in kernel.parameters())])
    for one, other in zip(slow, fast, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def block_of(query, seen, behavior, cues, ratio=None):
    """A block whose cues are given."""
    coincidences = SimpleNamespace(cues=lambda: cues)
    return PairBlock(query=query, seen=seen, behavior=behavior, coincidences=coincidences, ratio=ratio)


def test_probabilities_by_hand():
    kernel = LearnedKernel(4)
    with torch.no_grad():
        kernel.linear.bias.zero_()
        kernel.linear.bias[CUES.index("same_last")] = math.log(3)
    cues = torch.zeros(len(CUES), 2, 3)
    cues[CUES.index("same_last"), 0, 1] = 1
    # Query 0 has a past of 7, 8, 7, of which the 8 weighs three times as much; query 1 a 7; 2 none.
    block = block_of(
        query=torch.tensor([0, 1]),
        seen=torch.tensor([[True, True, True], [True, False, False]]),
        behavior=torch.tensor([[7, 8, 7], [7, 8, 8]]),
        cues=cues,
        ratio=torch.tensor([[2.0, 10, 2], [2, 10, 10]]),
    )
    z = torch.zeros(3, 4)
    numbers = kernel.target_numbers(z, [block], torch.tensor([8, 8, 8]), shifts_prior=True)
    assert numbers.evidence.tolist() == pytest.approx([5, 1, 0])
    assert numbers.probs.tolist() == pytest.approx([3 / 5, 0, 0])
    # r of behavior 7 is 2, of 8 it is 10.
    assert numbers.normalizer.tolist() == pytest.approx([2 / 5 * 2 + 3 / 5 * 10, 2, 0])


def test_a_huge_score_stays_finite():
    kernel = LearnedKernel(4)
    with torch.no_grad():
        kernel.linear.bias.fill_(1e6)
    block = block_of(
        query=torch.zeros(1, dtype=torch.int64),
        seen=torch.ones(1, 512, dtype=torch.bool),
        behavior=torch.arange(512)[None] % 3,
        cues=torch.ones(len(CUES), 1, 512),
    )
    numbers = kernel.target_numbers(torch.zeros(1, 4), [block], torch.tensor([1]))
    assert torch.isfinite(numbers.evidence).all()
    assert numbers.probs.item() == pytest.approx(171 / 512, rel=1e-5)
