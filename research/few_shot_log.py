"""A log that keeps only few examples of each rare behavior.

Of each tail behavior (less than 1 % of the training part) all but so many occurrences are deleted
from the log of the users of the training part. The event is deleted, and so the event before it is
followed by the event after it. Users of the validation and the test part keep all events. Users are
divided 8:1:1, as `edgebehave llm tune` does.

On request a share of the users is taken out first, as the log of a teacher: a teacher that learned
from them knows the world and nothing of the users of this log.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from edgebehave_train.llm.prompts.samples import LLM_SPLIT
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.frequencies import TAIL_BELOW
from edgebehave_train.logs.mapped_log import behavior_counts, training_vocabulary
from edgebehave_train.logs.split import TRAIN, part_bounds, part_of_event
from research_logs import LOGS, raw_log
from verbs import run


@dataclass(frozen=True, kw_only=True)
class FewShotLog:
    """The stores of a few-shot log: `whole`, the log as it is; `few`, with few examples of the tail; `others`, users
    who were taken out, if any."""

    whole: EventStore
    few: EventStore
    others: EventStore | None


def make_few_shot_log(
    name: str, data: Path | None, out: Path, *, examples: int, others: float, users: str
) -> FewShotLog:
    """Stores in the folder `out`, made unless they are there.

    examples  of each tail behavior.
    others    share of the users that is taken out, in [0, 1).
    users     of the simulator, for 42 days.
    Raises ValueError if a user did nothing but what was deleted.
    """
    columns = LOGS[name].columns
    named = dict(zip(columns[::2], columns[1::2], strict=True))
    user, behavior = named.get("--user", "user"), named.get("--behavior", named.get("--event"))
    source = raw_log(name, data, out, "--users", users, "--days", "42")
    log = duckdb.connect()
    rows = f"SELECT {LOGS[name].select} FROM read_csv('{source}', all_varchar = true)"
    log.sql(f"CREATE TABLE log AS SELECT *, row_number() OVER () AS row FROM ({rows})")
    # The order of a hash is a draw that does not depend on anything else.
    log.sql(f"""
        CREATE TABLE others AS SELECT user FROM (
            SELECT user, row_number() OVER (ORDER BY hash(user || 'other')) AS place
            FROM (SELECT DISTINCT {user} AS user FROM log)
        ) WHERE place <= {others} * (SELECT count(DISTINCT {user}) FROM log)""")

    def store(name: str, which: str) -> EventStore:
        if not (out / name).exists():
            kept = f"SELECT * EXCLUDE (row) FROM log WHERE {which} ORDER BY row"
            log.sql(f"COPY ({kept}) TO '{out / name}.parquet'")
            run("ingest", str(out / f"{name}.parquet"), "-o", str(out / name), *columns)
        return EventStore.open(out / name)

    here = f"{user} NOT IN (FROM others)"
    whole = store("whole", here)
    bounds, names = part_bounds(whole, LLM_SPLIT), whole.users()
    training = [names[u] for u in np.flatnonzero(bounds[:, 1] > bounds[:, 0])]
    for table, members in (("training", training), ("tail", tail_of(whole))):
        log.sql(f"CREATE TABLE {table} AS SELECT unnest($names) AS n", params={"names": members})
    log.sql(f"""
        CREATE TABLE deleted AS SELECT row FROM (
            SELECT row, row_number() OVER (PARTITION BY {behavior} ORDER BY hash(row)) AS place
            FROM log WHERE {user} IN (FROM training) AND {behavior} IN (FROM tail)
        ) WHERE place > {examples}""")
    few = store("few", f"{here} AND row NOT IN (FROM deleted)")
    if whole.users() != few.users():
        raise ValueError("a user did nothing but what was deleted; take other --users")
    apart = store("others", f"{user} IN (FROM others)") if others else None
    return FewShotLog(whole=whole, few=few, others=apart)


def tail_of(store: EventStore) -> list[str]:
    """Behaviors with less than 1 % of the training part."""
    counts, names = training_counts(store)
    return [name for name, n in zip(names, counts, strict=True) if 0 < n < TAIL_BELOW * counts.sum()]


def training_counts(store: EventStore) -> tuple[np.ndarray, list[str]]:
    is_train = part_of_event(store, LLM_SPLIT) == TRAIN
    vocabulary = training_vocabulary(store, is_train)
    return behavior_counts(store, is_train, vocabulary), list(vocabulary.behaviors)


def counts_in(store: EventStore, names: tuple[str, ...]) -> np.ndarray:
    """Occurrences of each of these behaviors in the training part of a store, (V,)."""
    counts, own = training_counts(store)
    count_of = dict(zip(own, counts.tolist(), strict=True))
    return np.array([count_of.get(name, 0) for name in names])
