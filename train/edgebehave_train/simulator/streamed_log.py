"""A simulated log of any size, written as it is made: batches of users on all cores, memory independent of the size.

Every batch is a log of its own with a seed of its own, so the file does not depend on the number of processes.
"""

import gzip
import io
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave_train.files import replaced_file
from edgebehave_train.simulator.log import CSV_COLUMNS, SimulatorConfig, simulate

BATCH_USERS = 2000
_SUFFIXES = (".parquet", ".csv", ".csv.gz")
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """A log of a number of events.

    num_events  at least 1; the last user's events may be cut off.
    num_days    of each user, see SimulatorConfig; some 5 events a day.
    seed        of everything that is random, at least 0.
    shuffle     rows in random order within each batch of 2,000 users, instead of by user and time.
    """

    num_events: int
    num_days: int = 49
    seed: int = 0
    shuffle: bool = False

    def __post_init__(self) -> None:
        if self.num_events < 1:
            raise ValueError(f"simulator: events must be at least 1, got {self.num_events}")
        SimulatorConfig(num_days=self.num_days, seed=self.seed)


def stream_log(
    config: StreamConfig, path: Path | str, workers: int | None = None, progress: Progress = lambda rows: None
) -> int:
    """Write a log as Parquet or CSV; returns the number of users.

    path      ends in .parquet, .csv or .csv.gz; replaced at the end, so that no half-written file is left.
    workers   processes; None = one per core.
    progress  is called with the number of rows written so far.
    Raises ValueError for another ending. The same config gives the same bytes.
    """
    path = Path(path)
    suffix = next((end for end in _SUFFIXES if path.name.endswith(end)), None)
    if suffix is None:
        raise ValueError(f"{path}: a simulated log is written as .parquet, .csv or .csv.gz")
    workers = workers or os.cpu_count() or 1
    num_rows = num_users = 0
    with _sink(path, suffix) as write, _batches(partial(_batch, config, suffix), workers) as batches:
        for number, (rows_of_user, pieces) in enumerate(batches):
            left = config.num_events - num_rows
            if rows_of_user.sum() > left:  # the last batch, cut off in a user
                rows_of_user, pieces = _batch(config, suffix, number, left)
            write(pieces)
            num_rows += int(rows_of_user.sum())
            num_users += int((rows_of_user > 0).sum())
            progress(num_rows)
            if num_rows == config.num_events:
                break
    return num_users


def _batch(
    config: StreamConfig, suffix: str, number: int, max_rows: int | None = None
) -> tuple[npt.NDArray[np.int64], bytes]:
    """Rows of each user of a batch, and the batch as bytes: an Arrow stream, or a part of the file."""
    import pyarrow as pa
    from pyarrow import csv

    low, high = np.random.SeedSequence([config.seed, number]).generate_state(2).tolist()
    settings = SimulatorConfig(num_users=BATCH_USERS, num_days=config.num_days, seed=low | high << 32)
    log = simulate(settings, with_oracle=False)
    rows = np.arange(log.num_events if max_rows is None else max_rows)
    if config.shuffle:
        np.random.default_rng(log.config.seed).shuffle(rows)
    users = tuple(f"user_{number * BATCH_USERS + u:09d}" for u in range(BATCH_USERS))

    def named(ids: npt.NDArray[np.integer], names: tuple[str, ...]) -> Any:
        taken = ids[rows].astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(taken, mask=taken < 0), pa.array(names)).cast(pa.string())

    columns = (
        named(log.user, users),
        pa.array(log.time_s[rows]),
        pa.array(log.utc_offset_min[rows]),
        named(log.event, log.event_names),
        named(log.location, log.location_names),
        named(log.behavior, log.behavior_names),
    )
    table = pa.table(dict(zip(CSV_COLUMNS, columns, strict=True)))
    counts = np.bincount(log.user[rows], minlength=BATCH_USERS)
    text = io.BytesIO()
    if suffix == ".parquet":
        with pa.ipc.new_stream(text, table.schema) as stream:
            stream.write_table(table)
        return counts, text.getvalue()
    if number == 0:  # Arrow writes the names of columns in quotes
        text.write((",".join(CSV_COLUMNS) + "\n").encode())
    csv.write_csv(table, text, csv.WriteOptions(include_header=False, quoting_style="none"))
    data = text.getvalue()
    return counts, gzip.compress(data, compresslevel=6, mtime=0) if suffix == ".csv.gz" else data


@contextmanager
def _batches(work: Callable[[int], Any], workers: int) -> Iterator[Iterator[Any]]:
    """The results of work(0), work(1), ... in order, without end, a few ahead."""
    if workers == 1:
        yield map(work, _numbers())
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(work, number) for number in range(workers + 1)]

        def results() -> Iterator[Any]:
            for number in _numbers(workers + 1):
                yield waiting.pop(0).result()
                waiting.append(pool.submit(work, number))

        try:
            yield results()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _numbers(start: int = 0) -> Iterator[int]:
    while True:
        yield start
        start += 1


@contextmanager
def _sink(path: Path, suffix: str) -> Iterator[Callable[[bytes], None]]:
    """A function that adds a batch to a file, which stands under its name at the end."""
    with replaced_file(path) as partial_path:
        if suffix == ".parquet":
            with _parquet_sink(partial_path) as write:
                yield write
        else:
            with partial_path.open("wb") as file:
                yield lambda data: (file.write(data), None)[1]


@contextmanager
def _parquet_sink(path: Path) -> Iterator[Callable[[bytes], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    names = ("user", "event", "location", "behavior")
    types = {name: pa.string() for name in names} | {"time": pa.int64(), "utc_offset_min": pa.int16()}
    schema = pa.schema([(name, types[name]) for name in CSV_COLUMNS])
    with parquet.ParquetWriter(path, schema, use_dictionary=list(names)) as writer:

        def write(data: bytes) -> None:
            writer.write_table(pa.ipc.open_stream(data).read_all())

        yield write
