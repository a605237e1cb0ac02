"""Batches: which positions have a target, and what stands beside each."""

import numpy as np
import pytest
import torch

from edgebehave.habits import KERNELS, HabitHistory, habit_probs
from edgebehave.vocabulary import NO_BEHAVIOR
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.packing import pack_rows
from edgebehave_train.logs.split import TRAIN, VALIDATION, SplitConfig, part_bounds, part_of_event
from edgebehave_train.training.batches import TrainingLog, kernel_numbers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def part(tiny_store):
    return part_of_event(tiny_store, SplitConfig())


@pytest.fixture(scope="module")
def log(tiny_store, part):
    return map_log(tiny_store, training_vocabulary(tiny_store, part == TRAIN))


@pytest.fixture(scope="module")
def training_log(log, part):
    return TrainingLog(log, log.behavior_log(part == TRAIN), CPU, learned_kernel=True)


def rows_of(store, stop_column, **packing):
    bounds = part_bounds(store, SplitConfig())
    return pack_rows(np.stack([bounds[:, 0], bounds[:, stop_column] - 1], 1), 100, **packing)


def positions_of(rows) -> np.ndarray:
    """Position in the log of each place in the flattened rows, -1 for padding."""
    longest = max(len(row) for row in rows)
    return np.concatenate([np.pad(row, (0, longest - len(row)), constant_values=-1) for row in rows])


@pytest.mark.parametrize(("which", "stop_column", "cut"), [(TRAIN, 1, True), (VALIDATION, 2, False)])
def test_each_behavior_of_a_part_that_follows_an_event_is_asked_for(
    tiny_store, log, part, training_log, which, stop_column, cut
):
    rows = rows_of(tiny_store, stop_column, cut=cut)
    batch = training_log.batch(rows, torch.from_numpy(part == which))
    position = positions_of(rows)[batch.where.numpy()]
    following = log.next_behavior[position]
    assert (part[following] == which).all(), "a target of another part"
    np.testing.assert_array_equal(batch.target, log.target[following])
    known = np.flatnonzero((part == which) & (log.target > 0))
    has_past = known > log.user_start[log.user_of_event()[known]]
    assert set(following.tolist()) == set(known[has_past].tolist())
    assert batch.target.min() >= 1
    for name in ("weekday", "slot", "location"):
        expected = getattr(log, name)[following]
        np.testing.assert_array_equal(getattr(batch, f"query_{name}"), expected)


def test_input_columns_are_the_log_and_padding_is_a_segment_of_its_own(tiny_store, log, training_log, part):
    rows = rows_of(tiny_store, 1, cut=False)
    batch = training_log.batch(rows, torch.from_numpy(part == TRAIN))
    position = positions_of(rows)
    real = position >= 0
    assert not real.all()
    for name in ("event", "location", "weekday", "slot"):
        np.testing.assert_array_equal(getattr(batch, name).flatten()[real], getattr(log, name)[position[real]])
    segment = batch.segment.flatten().numpy()
    np.testing.assert_array_equal(segment[real], log.user_of_event()[position[real]])
    assert (segment[~real] == -1).all()
    assert real[batch.where].all()
    assert batch.num_events == real.sum()


def test_kernel_numbers_are_those_of_the_runtime_asked_at_the_target(tiny_store, log, training_log, part):
    rows = rows_of(tiny_store, 2, cut=False)
    batch = training_log.batch(rows, torch.from_numpy(part <= VALIDATION))
    following = log.next_behavior[positions_of(rows)[batch.where.numpy()]]
    num_candidates = int(log.behavior.max()) + 1
    assert num_candidates > log.vocabulary.num_behaviors
    ratio_C = np.linspace(1, 0.01, num_candidates)
    behaviors = log.behavior_log(part == TRAIN)
    shifted = TrainingLog(log, behaviors, CPU, learned_kernel=True, ratio_C=ratio_C).batch(
        rows, torch.from_numpy(part <= VALIDATION)
    )
    for i in range(0, len(following), 41):
        event = int(following[i])
        past = slice(int(log.user_start[log.user_of_event()[event]]), event)
        history = HabitHistory.of_events(
            log.behavior[past], log.location_identity[past], log.time_s[past], log.utc_offset_min[past]
        )
        moment = int(log.time_s[event]), int(log.utc_offset_min[event])
        probs_KC, evidence_K = habit_probs(history, num_candidates, *moment)
        np.testing.assert_allclose(batch.evidence[i], evidence_K, rtol=2e-5, atol=1e-6)
        expected = probs_KC[:, log.behavior[event]]
        np.testing.assert_allclose(batch.target_probs[i], expected, rtol=5e-5, atol=1e-6)
        # A private behavior, beyond the vocabulary, has a ratio of its own.
        assert ratio_C.shape == (num_candidates,)
        np.testing.assert_allclose(shifted.normalizers[i], probs_KC @ ratio_C, rtol=5e-5, atol=1e-6)
    assert batch.normalizers is None


def test_without_habits_the_kernel_numbers_are_zero(log, part):
    behaviors = log.behavior_log(part == TRAIN)
    target_probs, evidence = kernel_numbers(behaviors, habits=False)
    assert target_probs.shape == evidence.shape == (len(behaviors.event), len(KERNELS))
    assert not target_probs.any()
    assert not evidence.any()


def test_an_event_without_a_behavior_is_input_and_never_a_target(tiny_store, log, training_log):
    screen_on = log.target == NO_BEHAVIOR
    assert screen_on.any()
    everything = torch.ones(len(log.event), dtype=torch.bool)
    rows = rows_of(tiny_store, 3, cut=False)
    batch = training_log.batch(rows, everything)
    asked_from = positions_of(rows)[batch.where.numpy()]
    assert screen_on[asked_from].any()
    assert not screen_on[log.next_behavior[asked_from]].any()
