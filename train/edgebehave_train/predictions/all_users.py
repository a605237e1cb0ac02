"""Predictions for all users of a store on all cores: shards of users in, one file out, in the order of the store.

    users -> shards -> processes, each with the bundle and the memory-mapped store -> rows in the order of the shards

Memory grows with the names of the users alone. Shards do not depend on the number of processes, nor do the bytes.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from edgebehave import Prediction
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.in_order import in_order
from edgebehave_train.predictions.prediction_file import SCHEMA, check_file, prediction_file
from edgebehave_train.predictions.user_scorer import UserScorer

SHARD_USERS = 128
_PIECE = 1 << 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """The users to predict for, and the file of their predictions.

    bundle, store  folders.
    out            ends in .parquet or .csv; replaced at the end.
    k              behaviors per user, at most.
    at             the moment to predict for; None: not known.
    users          names; None = all users of the store.
    workers        processes; None = one per core.
    """

    bundle: Path
    store: Path
    out: Path
    k: int = 5
    at: datetime | None = None
    users: Sequence[str] | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("bundle", "store", "out"):
            object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("k", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"predictions: {name} must be at least 1, got {value}")


@dataclass(frozen=True)
class Counts:
    """Users that were asked about, those with a prediction, and rows of the file."""

    num_users: int
    num_answered: int
    num_rows: int


@dataclass(frozen=True)
class _Shard:
    """Users by name and index in the store."""

    names: list[str]
    index: list[int]


def predict_all(config: PredictionConfig, progress: Progress = lambda done, total: None) -> Counts:
    """Write the predictions of the users, in the order of the store, or in that of `config.users`.

    progress  is called with the number of users done, and of all.
    Raises ValueError for another ending of the file, a user that the store does not have, and what `EventStore.open`
    and `Predictor.load` refuse. The same users give the same bytes for any number of workers.
    """
    check_file(config.out)
    scorer = _StoreScorer(config)  # what is wrong with bundle or store shows here, not in a process
    names, index = _chosen(scorer.store, config.users)
    shards = [
        _Shard(names[start : start + SHARD_USERS], index[start : start + SHARD_USERS])
        for start in range(0, len(names), SHARD_USERS)
    ]
    workers = min(config.workers or os.cpu_count() or 1, max(1, len(shards)))
    num_done = num_answered = num_rows = 0
    with prediction_file(config.out) as write, _tables(config, scorer, shards, workers) as tables:
        for shard, (answered, table) in zip(shards, tables, strict=True):
            write(table)
            num_done += len(shard.names)
            num_answered += answered
            num_rows += len(table)
            progress(num_done, len(names))
    return Counts(len(names), num_answered, num_rows)


def _chosen(store: EventStore, users: Sequence[str] | None) -> tuple[list[str], list[int]]:
    """Names of users and their positions in the store; each name once."""
    known = store.users()
    if users is None:
        return known, list(range(len(known)))
    position = {name: number for number, name in enumerate(known)}
    names = list(dict.fromkeys(users))
    missing = [name for name in names if name not in position]
    if missing:
        others = f" and {len(missing) - 1:,} more of the {len(names):,} that were named" if missing[1:] else ""
        raise ValueError(f"{store.path} has no user {missing[0]!r}{others}; it has for example {known[0]!r}")
    if not names:
        raise ValueError("no user was named; give a name per line")
    return names, [position[name] for name in names]


class _StoreScorer:
    """Predictions of the users of a store, a shard at a time."""

    def __init__(self, config: PredictionConfig) -> None:
        self.store = EventStore.open(config.store)
        self._scorer = UserScorer(config.bundle, config.k, config.at)
        vocabulary = self.store.vocabulary
        self._events = np.array(vocabulary.events, object)
        self._locations = np.array(["", *vocabulary.locations[1:]], object)

    def __call__(self, shard: _Shard) -> tuple[int, pa.Table]:
        """Number of users with a prediction, and the rows of all."""
        answers = [(name, self._predict(name, user)) for name, user in zip(shard.names, shard.index, strict=True)]
        columns: list[list[object]] = [
            [name for name, answer in answers for _ in answer],
            [rank for _, answer in answers for rank in range(1, len(answer) + 1)],
            [prediction.behavior for _, answer in answers for prediction in answer],
            [prediction.probability for _, answer in answers for prediction in answer],
        ]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
        return sum(bool(answer) for _, answer in answers), pa.table(arrays, SCHEMA)

    def _predict(self, name: str, user: int) -> list[Prediction]:
        store, events = self.store, self._scorer.new_user()
        start, stop = store.user_start[user : user + 2].tolist()
        for first in range(start, stop, _PIECE):
            piece = slice(first, min(first + _PIECE, stop))
            events.add(
                self._events[store.event[piece]],
                self._locations[store.location[piece]],
                store.time_s[piece],
                store.utc_offset_min[piece],
            )
        return self._scorer.predict(name, events)


_scorer: _StoreScorer | None = None
"""Of this process, if it is a worker."""


def _start(config: PredictionConfig) -> None:
    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends the others
    _scorer = _StoreScorer(config)


def _run(shard: _Shard) -> tuple[int, pa.Table]:
    assert _scorer is not None
    return _scorer(shard)


@contextmanager
def _tables(
    config: PredictionConfig, scorer: _StoreScorer, shards: list[_Shard], workers: int
) -> Iterator[Iterator[tuple[int, pa.Table]]]:
    """The results of the shards, in order."""
    if workers == 1:
        yield map(scorer, shards)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_start, initargs=(config,)) as pool:
        try:
            yield in_order(_run, shards, workers, pool)
        except BrokenProcessPool:
            raise ValueError(
                f"one of {workers} processes was ended from outside, mostly for lack of memory; nothing was written. "
                "Try fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
