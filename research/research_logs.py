"""The logs of the tables: where each lies, what its columns are, and how it is split."""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from verbs import run


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log and its columns.

    file    below the folder of the research logs; None = what `edgebehave simulate` writes.
    select  columns of a SELECT, where the log needs one first.
    """

    columns: tuple[str, ...]
    file: str | None = None
    split: str = "time"
    select: str = "*"


RESEARCH_LOGS = {
    # 890 check-ins have a blank category name; its number stands in, as in the reference figures.
    "foursquare": Log(
        file="foursquare_nyc/checkins.csv.gz",
        columns=(
            *("--user", "user_id", "--time", "unix_utc", "--event", "category"),
            *("--location", "poi_id", "--utc-offset", "tz_offset_min"),
        ),
        select="*, coalesce(category_name, '?' || category_idx) as category",
    ),
    "tokyo": Log(
        file="llmob_tokyo/trips_2019.csv.gz",
        columns=(
            *("--user", "user_id", "--time", "local_time", "--event", "category"),
            *("--location", "place"),
        ),
    ),
    "atus": Log(
        file="atus2014/activities.csv.gz",
        columns=(
            *("--user", "respondent", "--time", "start_local", "--event", "activity"),
            *("--behavior", "category", "--location", "place"),
        ),
        split="user",
    ),
    # Local times; Korea has kept UTC+9 all year since 1989.
    "kaist": Log(
        file="kaist_context/activities.csv.gz",
        columns=(
            *("--user", "user_id", "--time", "start_local", "--event", "activity"),
            *("--location", "place", "--timezone", "Asia/Seoul"),
        ),
    ),
}
SIMULATOR = Log(
    columns=(
        *("--location", "location", "--utc-offset", "utc_offset_min"),
        *("--behavior", "behavior"),
    ),
)
LOGS = {**RESEARCH_LOGS, "simulator": SIMULATOR}


def raw_log(name: str, data: Path | None, out: Path, *simulator_options: str) -> Path:
    """The file of a log as it comes; the simulator's is written to `out` unless it is there."""
    file = LOGS[name].file
    if file is None:
        table = out / "log.csv.gz"
        if not table.exists():
            run("simulate", str(table), *simulator_options)
        return table
    if data is None:
        raise SystemExit(f"{name} needs --data, the folder of the research logs")
    return data / file


def ingested(name: str, data: Path | None, out: Path) -> Path:
    """The event store of a log in the folder `out`, made unless it is there."""
    out.mkdir(parents=True, exist_ok=True)
    store, log = out / "store", LOGS[name]
    if store.exists():
        return store
    table = raw_log(name, data, out)
    if log.file is not None:
        rows = f"SELECT {log.select} FROM read_csv('{table}', all_varchar = true)"
        table = out / "log.parquet"
        duckdb.sql(f"COPY ({rows}) TO '{table}'")
    run("ingest", str(table), "-o", str(store), *log.columns)
    return store
