"""Predictions of a bundle for all users of a log in Spark: one shuffle by user, then `mapInPandas`.

Each task writes the files of the bundle, which travel with it, to its disk, loads them once, and reads the rows of one
user after the other; it keeps the events that the model can see.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from edgebehave_train.predictions.user_scorer import UserScorer

if TYPE_CHECKING:  # executors import it when they need it
    import pandas as pd

SCHEMA = "user string, rank int, behavior string, probability float"
"""Columns of predictions, as in the file of `edgebehave predict`."""

_COLUMNS = ("user", "event", "location", "time_us", "utc_offset_min")
_MICROSECONDS = 1_000_000


def predict_users(
    events: DataFrame, bundle: str | Path, *, k: int = 5, at: datetime | None = None, num_tasks: int | None = None
) -> DataFrame:
    """The most probable next behaviors of every user, with the columns of `SCHEMA`.

    events     as in `log_events` and `read_bucketed`.
    bundle     folder, from `edgebehave export`, on the machine of the driver.
    k          behaviors per user, at most.
    at         the moment to predict for, with a time zone; None: not known.
    num_tasks  None = as many as Spark's setting of shuffles says.
    A row without user, time or event, and a name that the SDK refuses, end the job.
    """
    UserScorer(bundle, k, at)  # what is wrong with them shows here
    files = {path.name: path.read_bytes() for path in Path(bundle).iterdir() if path.is_file()}
    rows = events.select("user", "event", F.coalesce("location", F.lit("")).alias("location"), *_COLUMNS[3:], "order")
    by_user = rows.repartition("user") if num_tasks is None else rows.repartition(num_tasks, "user")
    in_order = by_user.sortWithinPartitions("user", "time_us", "order").select(*_COLUMNS)
    return in_order.mapInPandas(_task(files, k, at), SCHEMA)


def _task(
    files: dict[str, bytes], k: int, at: datetime | None
) -> Callable[[Iterable["pd.DataFrame"]], Iterable["pd.DataFrame"]]:
    """The work of a task: from rows by user and time to predictions."""

    def predict(batches: Iterable["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            yield from predictions_of(UserScorer(folder, k, at), batches)

    return predict


def predictions_of(scorer: UserScorer, batches: Iterable["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
    """Predictions for the users of some rows, which stand by user and time."""
    import pandas as pd

    user, events = None, scorer.new_user()
    columns = ["user", "rank", "behavior", "probability"]

    def answer() -> list[tuple[str, int, str, float]]:
        if user is None:
            return []
        return [(user, rank, *prediction) for rank, prediction in enumerate(scorer.predict(user, events), 1)]

    for batch in batches:
        if not len(batch):
            continue
        if batch.isna().any(axis=None):
            raise ValueError("a row lacks its user, time or event; leave such rows out before predicting")
        users, event, location = (batch[name].to_numpy(object) for name in _COLUMNS[:3])
        time_s = batch["time_us"].to_numpy(np.int64) // _MICROSECONDS
        offset_min = batch["utc_offset_min"].to_numpy(np.int64)
        starts = [0, *(np.flatnonzero(users[1:] != users[:-1]) + 1).tolist(), len(users)]
        answers = []
        for start, stop in pairwise(starts):
            if users[start] != user:
                answers += answer()
                user, events = users[start], scorer.new_user()
            events.add(event[start:stop], location[start:stop], time_s[start:stop], offset_min[start:stop])
        if answers:
            yield pd.DataFrame(answers, columns=columns)
    yield pd.DataFrame(answer(), columns=columns)
