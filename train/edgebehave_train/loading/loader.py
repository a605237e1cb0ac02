"""The batches of a training run, made ahead of the training by a worker.

Their order follows from the seed, the epoch and the step alone. Every rank of a run with several processes takes its
contiguous share of the rows of a step.
"""

# R rows of a step

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave_train.loading.batches import Batch, TrainingLog
from edgebehave_train.logs.packing import PackedRows
from edgebehave_train.logs.split import TRAIN

_EVENTS_AT_ONCE = 1 << 15
"""Events for which a worker reads the store at once: more cost memory, fewer cost time in Python."""


class Step(NamedTuple):
    """What a rank trains on in one optimizer step.

    num_events  of all ranks.
    first_rows  number of the first row of each batch among the rows of the step.
    batches     one, or several whose gradients are summed; as many on every rank.
    """

    num_events: int
    first_rows: list[int]
    batches: list[Batch]


class Loader:
    """Steps of any epoch, with a worker thread that reads ahead."""

    def __init__(
        self,
        data: TrainingLog,
        ranges: npt.NDArray[np.int64],
        *,
        row_events: int,
        batch_events: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        micro_batch_rows: int | None = None,
    ) -> None:
        """What steps consist of.

        ranges            (S, 2) first and past-the-end positions to train on.
        row_events        events of a packed row; batch_events of a step, by all ranks.
        rank, world_size  of this process.
        micro_batch_rows  rows of a batch, at most; None = all of this rank's.
        """
        self.data, self.ranges = data, ranges
        self.row_events, self.seed = row_events, seed
        self.rows_per_step = max(1, batch_events // row_events)
        self.rank, self.world_size = rank, world_size
        self.micro_batch_rows = micro_batch_rows or self.rows_per_step
        self.num_events = int((ranges[:, 1] - ranges[:, 0]).clip(0).sum())
        self.num_rows = -(-self.num_events // row_events)
        self.waited_s = 0.0
        """Seconds that the caller has waited for batches so far."""

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.rows_per_step)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Step]:
        """The steps of an epoch from one on."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = PackedRows(self.ranges, self.row_events, rng)
        order = rng.permutation(len(rows))
        steps_at_once = max(1, _EVENTS_AT_ONCE // (self.rows_per_step * self.row_events))

        def made(first: int) -> list[Step]:
            return self._steps(rows, order, range(first, min(first + steps_at_once, self.steps_per_epoch)))

        with ThreadPoolExecutor(1, thread_name_prefix="loader") as worker:
            ahead = worker.submit(made, first_step)
            while first_step < self.steps_per_epoch:
                started = time.monotonic()
                steps = ahead.result()
                self.waited_s += time.monotonic() - started
                first_step += len(steps)
                ahead = worker.submit(made, first_step)
                yield from steps

    def _steps(self, rows: PackedRows, order: npt.NDArray[np.int64], steps: range) -> list[Step]:
        """Some steps, read at once."""
        mine: list[npt.NDArray[np.int64]] = []
        rows_of_batch: list[int] = []
        described: list[tuple[int, list[int]]] = []
        for step in steps:
            first = step * self.rows_per_step
            of_step = order[first : first + self.rows_per_step]
            start, stop = (len(of_step) * rank // self.world_size for rank in (self.rank, self.rank + 1))
            # The largest share decides: every rank makes as many batches.
            largest = -(-len(of_step) // self.world_size)
            num_batches = -(-largest // self.micro_batch_rows)
            borders = [start + (stop - start) * part // num_batches for part in range(num_batches + 1)]
            mine.append(of_step[start:stop])
            rows_of_batch += np.diff(borders).tolist()
            last_is_short = int((of_step == len(rows) - 1).any()) * (len(rows) * self.row_events - self.num_events)
            described.append((len(of_step) * self.row_events - last_is_short, borders[:-1]))
        if not steps:
            return []
        pieces = rows.pieces(np.concatenate(mine))
        batches = iter(self.data.batches(pieces, rows_of_batch, TRAIN, self.row_events))
        return [Step(num, first_rows, [next(batches) for _ in first_rows]) for num, first_rows in described]
