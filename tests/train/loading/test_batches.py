"""Batches: which positions have a target, what stands beside each, and that reading ahead changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave.habits import HabitHistory, habit_probs
from edgebehave.vocabulary import NO_BEHAVIOR
from edgebehave_train.kernels.copy_kernels import copy_numbers
from edgebehave_train.kernels.habit_kernels import target_numbers
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.loading.batches import TrainingLog
from edgebehave_train.logs.mapped_log import event_identity, map_log, training_vocabulary
from edgebehave_train.logs.packing import PackedRows
from edgebehave_train.logs.split import TRAIN, VALIDATION, SplitConfig, part_bounds, part_of_event

CPU = torch.device("cpu")
ROW_EVENTS = 100


@pytest.fixture(scope="module")
def part(tiny_store):
    return part_of_event(tiny_store, SplitConfig())


@pytest.fixture(scope="module")
def log(tiny_store, part):
    return map_log(tiny_store, training_vocabulary(tiny_store, part == TRAIN))


@pytest.fixture(scope="module")
def make_training_log(tiny_store, log):
    """A TrainingLog of the tiny store; every event may be a target of the part "everything", 0."""

    def make(everything=False, **options):
        bounds = part_bounds(tiny_store, SplitConfig())
        if everything:
            bounds[:, 1:] = bounds[:, 3:]
        return TrainingLog(tiny_store, log.vocabulary, bounds, CPU, **options)

    return make


def packed(store, stop_column, **packing):
    bounds = part_bounds(store, SplitConfig())
    return PackedRows(np.stack([bounds[:, 0], bounds[:, stop_column] - 1], 1), ROW_EVENTS, **packing)


def one_batch(training_log, rows, part):
    (batch,) = training_log.batches(rows.pieces(range(len(rows))), [len(rows)], part, ROW_EVENTS)
    return batch


def positions_of(rows) -> np.ndarray:
    """Position in the log of each place in the flattened rows, -1 for padding."""
    each = [rows.pieces([row]).positions() for row in range(len(rows))]
    longest = max(map(len, each))
    return np.concatenate([np.pad(row, (0, longest - len(row)), constant_values=-1) for row in each])


@pytest.mark.parametrize(("which", "stop_column", "cut"), [(TRAIN, 1, True), (VALIDATION, 2, False)])
def test_each_behavior_of_a_part_that_follows_an_event_is_asked_for(
    tiny_store, log, part, make_training_log, which, stop_column, cut
):
    rows = packed(tiny_store, stop_column, cut=cut)
    batch = one_batch(make_training_log(), rows, which)
    position = positions_of(rows)[batch.where.numpy()]
    following = log.next_behavior[position]
    assert (part[following] == which).all(), "a target of another part"
    np.testing.assert_array_equal(batch.target, log.target[following])
    np.testing.assert_array_equal(batch.target_event, following)
    known = np.flatnonzero((part == which) & (log.target > 0))
    has_past = known > log.user_start[log.user_of_event()[known]]
    assert set(following.tolist()) == set(known[has_past].tolist())
    assert batch.target.min() >= 1
    for name in ("weekday", "slot", "location"):
        expected = getattr(log, name)[following]
        np.testing.assert_array_equal(getattr(batch, f"query_{name}"), expected)


def test_input_columns_are_the_log_and_padding_is_a_segment_of_its_own(tiny_store, log, make_training_log):
    rows = packed(tiny_store, 1, cut=False)
    batch = one_batch(make_training_log(), rows, TRAIN)
    position = positions_of(rows)
    real = position >= 0
    assert not real.all()
    for name in ("event", "location", "weekday", "slot", "time_s"):
        np.testing.assert_array_equal(getattr(batch, name).flatten()[real], getattr(log, name)[position[real]])
    segment = batch.segment.flatten().numpy()
    np.testing.assert_array_equal(segment[real], log.user_of_event()[position[real]])
    assert (segment[~real] == -1).all()
    assert real[batch.where].all()
    assert batch.num_events == real.sum()


def test_kernel_numbers_are_those_of_the_runtime_asked_at_the_target(tiny_store, log, make_training_log, part):
    num_candidates, num_behaviors = int(log.behavior.max()) + 1, log.vocabulary.num_behaviors
    assert num_candidates > num_behaviors
    # The last ratio is that of every private behavior.
    ratio = np.linspace(1, 0.01, num_behaviors + 1)
    ratio_C = ratio[np.minimum(np.arange(num_candidates), num_behaviors)]
    rows = packed(tiny_store, 3, cut=False)
    batch = one_batch(make_training_log(everything=True, candidate_ratio=lambda num: ratio[:num]), rows, TRAIN)
    known = torch.ones(len(batch.row), dtype=torch.bool)
    came = batch.past.behavior[batch.row]
    numbers = target_numbers(batch.past.blocks(batch.row, known), came, shifts_prior=True)
    for i in range(0, len(batch.row), 41):
        event = int(batch.target_event[i])
        past = slice(int(log.user_start[log.user_of_event()[event]]), event)
        history = HabitHistory.of_events(
            log.behavior[past], log.location_identity[past], log.time_s[past], log.utc_offset_min[past]
        )
        moment = int(log.time_s[event]), int(log.utc_offset_min[event])
        probs_KC, evidence_K = habit_probs(history, num_candidates, *moment)
        np.testing.assert_allclose(numbers.evidence[i], evidence_K, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(numbers.probs[i], probs_KC[:, log.behavior[event]], rtol=5e-5, atol=1e-6)
        np.testing.assert_allclose(numbers.normalizers[i], probs_KC @ ratio_C, rtol=5e-5, atol=1e-6)
    assert not make_training_log().shifts_prior


def test_without_habits_a_batch_has_no_past(tiny_store, make_training_log):
    batch = one_batch(make_training_log(habits=False), packed(tiny_store, 1), TRAIN)
    assert batch.past is None


def test_an_event_without_a_behavior_is_input_and_never_a_target(tiny_store, log, make_training_log):
    screen_on = log.target == NO_BEHAVIOR
    assert screen_on.any()
    rows = packed(tiny_store, 3, cut=False)
    batch = one_batch(make_training_log(everything=True), rows, TRAIN)
    asked_from = positions_of(rows)[batch.where.numpy()]
    assert screen_on[asked_from].any()
    assert not screen_on[log.next_behavior[asked_from]].any()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 5))
def test_a_batch_reads_what_the_whole_log_says(tiny_store, log, part, make_training_log, seed, length, per_batch):
    """Rows of any length, many batches at once, the generation heads and the pairs of the learned kernel."""
    bounds = part_bounds(tiny_store, SplitConfig())
    ranges = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
    rows = PackedRows(ranges, length, np.random.default_rng(seed))
    some = np.random.default_rng(seed).permutation(len(rows))[:12]
    sizes = [len(one) for one in np.split(some, range(per_batch, len(some), per_batch))]
    pieces = rows.pieces(some)
    batches = make_training_log(generation=True).batches(pieces, sizes, TRAIN, length)
    behaviors = log.behavior_log(part == TRAIN)
    whole = PastBehaviors.of_log(behaviors, CPU)
    copies = copy_numbers(event_identity(log), behaviors)
    row_of_event = np.full(len(log.event), -1)
    row_of_event[behaviors.event] = np.arange(len(behaviors.event))
    asked = 0
    for batch in batches:
        known = torch.ones(len(batch.row), dtype=torch.bool)
        row = torch.from_numpy(row_of_event[batch.target_event.numpy()])
        mine, expected = batch.past.pairs(batch.row, known), whole.pairs(row, known)
        assert torch.equal(mine.query, expected.query)
        torch.testing.assert_close(mine.cues, expected.cues, rtol=1e-6, atol=1e-6)
        for name in ("gap_bin", "gap_probs", "pace_counts", "location_probs", "location_evidence"):
            np.testing.assert_allclose(
                getattr(batch.generation, name), getattr(copies, name)[row.numpy()], rtol=1e-5, atol=1e-6
            )
        asked += len(batch.row)
    following = log.next_behavior[pieces.positions()]
    following = following[following >= 0]
    assert asked == np.count_nonzero((part[following] == TRAIN) & (log.target[following] > 0))


def test_a_batch_without_rows_is_padding(tiny_store, make_training_log):
    rows = packed(tiny_store, 1)
    first, empty = make_training_log().batches(rows.pieces([0]), [1, 0], TRAIN, ROW_EVENTS)
    assert first.num_events == ROW_EVENTS
    assert empty.segment.tolist() == [[-1] * ROW_EVENTS]
    assert len(empty.where) == empty.num_events == 0
