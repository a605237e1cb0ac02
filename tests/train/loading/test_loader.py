"""The loader: every event once, an order that ranks share, and memory that does not grow with the log."""

from collections import Counter

import numpy as np
import pytest
import torch

from edgebehave_train.loading.batches import TrainingLog
from edgebehave_train.loading.loader import Loader
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.packing import pack_rows
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_bounds, part_of_event

CPU = torch.device("cpu")
ROW_EVENTS, BATCH_EVENTS = 30, 240


@pytest.fixture(scope="module")
def data(tiny_store):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    bounds = part_bounds(tiny_store, SplitConfig())
    return TrainingLog(tiny_store, training_vocabulary(tiny_store, is_train), bounds, CPU)


@pytest.fixture(scope="module")
def make_loader(tiny_store, data):
    bounds = part_bounds(tiny_store, SplitConfig())
    ranges = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)

    def make(**options):
        return Loader(data, ranges, **{"row_events": ROW_EVENTS, "batch_events": BATCH_EVENTS, "seed": 3, **options})

    return make


def inputs_of(batches) -> list[tuple[int, int]]:
    """User and time of every event, in order."""
    return [
        pair
        for batch in batches
        for pair in zip(batch.segment.flatten().tolist(), batch.time_s.flatten().tolist(), strict=True)
        if pair[0] >= 0
    ]


def test_an_epoch_is_the_packed_rows_in_a_seeded_order(tiny_store, make_loader):
    loader = make_loader()
    rng = np.random.default_rng([3, 2])
    rows = pack_rows(loader.ranges, ROW_EVENTS, rng)
    expected = np.concatenate([rows[i] for i in rng.permutation(len(rows))])
    steps = list(loader.epoch(2))
    log = map_log(tiny_store, tiny_store.vocabulary)
    user = log.user_of_event()
    wanted = list(zip(user[expected].tolist(), log.time_s[expected].tolist(), strict=True))
    assert inputs_of(batch for step in steps for batch in step.batches) == wanted
    assert len(steps) == loader.steps_per_epoch
    assert [step.num_events for step in steps] == [sum(b.num_events for b in step.batches) for step in steps]
    assert sum(step.num_events for step in steps) == loader.num_events == len(expected)
    assert loader.waited_s > 0


def test_a_step_does_not_depend_on_where_an_epoch_began(make_loader):
    whole = list(make_loader().epoch(1))
    rest = list(make_loader().epoch(1, first_step=3))
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest, strict=True):
        for name in ("event", "where", "target", "row", "segment"):
            assert torch.equal(getattr(one.batches[0], name), getattr(other.batches[0], name))
        for name in ("behavior", "waited", "oldest"):
            assert torch.equal(getattr(one.batches[0].past, name), getattr(other.batches[0].past, name))


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("micro_batch_rows", [None, 1, 3])
def test_ranks_share_the_rows_of_every_step(make_loader, world_size, micro_batch_rows):
    alone = list(make_loader().epoch(0))
    ranks = [
        list(make_loader(rank=rank, world_size=world_size, micro_batch_rows=micro_batch_rows).epoch(0))
        for rank in range(world_size)
    ]
    for step, *shares in zip(alone, *ranks, strict=True):
        assert inputs_of(b for share in shares for b in share.batches) == inputs_of(step.batches)
        assert len({len(share.batches) for share in shares}) == 1, "as many batches on every rank"
        assert {share.num_events for share in shares} == {step.num_events}
        rows = [len(b.segment) for share in shares for b in share.batches if b.num_events]
        assert sum(rows) == len(step.batches[0].segment)
        targets = Counter(e for share in shares for b in share.batches for e in b.target_event.tolist())
        assert targets == Counter(step.batches[0].target_event.tolist())
    if BATCH_EVENTS // ROW_EVENTS % world_size == 0:
        full = [sum(b.num_events for b in share.batches) for share in next(zip(*ranks, strict=True))]
        assert len(set(full)) == 1, "equal numbers of tokens"


def test_a_step_reads_its_own_rows_and_their_past_alone(make_store, monkeypatch):
    """What is read at once does not grow with the log, nor with the length of a user."""
    rng = np.random.default_rng(0)
    num_events = 40_000
    times = 1_700_000_000 + 600 * np.arange(num_events)
    names = np.array([*"abcdefg"])[rng.integers(0, 7, num_events)]
    store = make_store([list(zip(times.tolist(), names.tolist(), [None] * num_events, strict=True))])
    bounds = part_bounds(store, SplitConfig())
    largest = []
    read = type(store).read

    def counted(self, name, start, stop):
        largest.append(int((stop - start).sum()))
        return read(self, name, start, stop)

    monkeypatch.setattr(type(store), "read", counted)
    data = TrainingLog(store, store.vocabulary, bounds, CPU)
    loader = Loader(data, np.stack([bounds[:, 0], bounds[:, 1] - 1], 1), row_events=50, batch_events=100, seed=0)
    monkeypatch.setattr("edgebehave_train.loading.loader._EVENTS_AT_ONCE", 200)
    num_steps = 0
    for step in loader.epoch(0):
        num_steps += 1
        # The 512 events before a target, and the target of the last event.
        assert step.batches[0].past.oldest.numel() <= 2 * (50 + 512)
    assert num_steps == loader.steps_per_epoch
    assert max(largest) <= 4 * (50 + 512)


def test_an_error_of_the_worker_reaches_the_training(make_loader, data, monkeypatch):
    monkeypatch.setattr(data.reader, "read", lambda pieces, part: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(make_loader().epoch(0))
