"""The learned kernel: cues by their definition, probabilities by hand, nothing from the future."""

import math

import numpy as np
import pytest
import torch

from edgebehave_train.kernels.cues import CLOCK_WIDTHS, CUES, GAP_WIDTHS
from edgebehave_train.kernels.learned_kernel import LearnedKernel
from edgebehave_train.kernels.pairs import HistoryPairs, PastBehaviors
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
    past = PastBehaviors(behaviors, CPU, history_events)
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
    before = PastBehaviors(behaviors, CPU)
    after = PastBehaviors(behaviors, CPU)
    after.behavior = torch.from_numpy(changed["behavior"]).int()
    after.location = torch.from_numpy(changed["location"]).int()
    asked = torch.tensor([row]), torch.tensor([True])
    assert torch.equal(before.pairs(*asked).cues, after.pairs(*asked).cues)
    assert before.pairs(*asked).behavior.max() > 1


def test_without_a_query_time_nothing_depends_on_when_the_target_came(tiny_store):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    log = map_log(tiny_store, training_vocabulary(tiny_store, is_train))
    timed, untimed = log.behavior_log(is_train), log.behavior_log(is_train, None)
    assert (untimed.query_time_s == NO_TIME).all()
    rows, unknown = torch.arange(5, 9), torch.zeros(4, dtype=torch.bool)
    one = PastBehaviors(timed, CPU).pairs(rows, unknown).cues
    other = PastBehaviors(untimed, CPU).pairs(rows, unknown).cues
    assert torch.equal(one, other)


def test_probabilities_by_hand():
    kernel = LearnedKernel(4)
    with torch.no_grad():
        kernel.linear.bias.zero_()
        kernel.linear.bias[CUES.index("same_last")] = math.log(3)
    cues = torch.zeros(len(CUES), 4)
    cues[CUES.index("same_last"), 1] = 1
    # Query 0 has a past of 7, 8, 7, of which the 8 weighs three times as much; query 1 a 7; 2 none.
    pairs = HistoryPairs(
        query=torch.tensor([0, 0, 0, 1]),
        behavior=torch.tensor([7, 8, 7, 7]),
        cues=cues,
        ratio=torch.tensor([2.0, 10, 2, 2]),
    )
    z = torch.zeros(3, 4)
    numbers = kernel.target_numbers(z, pairs, torch.tensor([8, 8, 8]))
    assert numbers.evidence.tolist() == pytest.approx([5, 1, 0])
    assert numbers.probs.tolist() == pytest.approx([3 / 5, 0, 0])
    # r of behavior 7 is 2, of 8 it is 10.
    assert numbers.normalizer.tolist() == pytest.approx([2 / 5 * 2 + 3 / 5 * 10, 2, 0])


def test_a_huge_score_stays_finite():
    kernel = LearnedKernel(4)
    with torch.no_grad():
        kernel.linear.bias.fill_(1e6)
    pairs = HistoryPairs(
        query=torch.zeros(512, dtype=torch.int64),
        behavior=torch.arange(512) % 3,
        cues=torch.ones(len(CUES), 512),
    )
    numbers = kernel.target_numbers(torch.zeros(1, 4), pairs, torch.tensor([1]))
    assert torch.isfinite(numbers.evidence).all()
    assert numbers.probs.item() == pytest.approx(171 / 512, rel=1e-5)
