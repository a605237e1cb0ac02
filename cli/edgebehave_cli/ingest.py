"""`edgebehave ingest`: a log becomes an event store."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.zone_question import zone_question


def ingest(
    log: Annotated[
        list[Path], typer.Argument(help="Files: CSV, TSV, JSON, Parquet or an export (docs/logs.md); - reads stdin.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the event store.")],
    user: options.User = "user",
    one_user: options.OneUser = None,
    time: options.Time = "time",
    event: options.Event = "event",
    location: options.Location = None,
    utc_offset: options.UtcOffset = None,
    behavior: options.Behavior = None,
    date: options.Date = None,
    timezone: options.Timezone = None,
    time_format: options.TimeFormat = None,
    time_unit: options.TimeUnit = "auto",
    null: options.Null = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    days: options.Days = False,
    max_bad: options.MaxBad = 0.01,
    overwrite: Annotated[bool, typer.Option(help="Replace the store in OUT.")] = False,
    append: Annotated[
        bool,
        typer.Option("--append", help="Add new days and users to the store in OUT; existing names keep their ids."),
    ] = False,
    bucketed: Annotated[
        bool,
        typer.Option(
            "--bucketed", help="LOG is Parquet in the order of a store (docs/logs.md) and is not sorted again."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Read an event log, clean it, and write the event store that training reads.

    Rows that cannot be used are counted by reason and shown with file and line. The same rows in any order give the
    same store; only events of a user at the same time keep the order of the rows, if the rows are in time order.

    The last lines sum up the log. Check the busiest local hour: it shows a wrong time unit or time zone.

    Example: [bold]edgebehave ingest log.csv -o runs/store --user uid --time ts --event app[/bold]

    Exports of ActivityWatch, Google Takeout, browsers, Home Assistant, Last.fm, Swarm, Android and Apple are
    recognized and need no column names.

    Example: [bold]edgebehave ingest aw-buckets-export.json -o runs/store --timezone Europe/Berlin[/bold]

    Example: [bold]edgebehave ingest today.csv -o runs/store --user uid --time ts --event app --append[/bold]

    Example: [bold]edgebehave ingest usage.csv -o runs/store --date Date --time Time --timezone Europe/Berlin[/bold]
    """
    from edgebehave_train.logs.ingest import IngestConfig
    from edgebehave_train.logs.ingest import ingest as ingest_log

    config = IngestConfig(
        log=log,
        out=out,
        user=user,
        one_user=one_user,
        time=time,
        event=event,
        location=location,
        utc_offset=utc_offset,
        behavior=behavior,
        date=date,
        timezone=timezone,
        time_format=time_format,
        nulls=null or (),
        delimiter=delimiter,
        encoding=encoding,
        days=days,
        max_bad=max_bad,
        time_unit=time_unit,
        overwrite=overwrite,
        append=append,
        bucketed=bucketed,
    )
    statistics = ingest_log(config, note, ask_zone=zone_question())
    if json:
        print_json(statistics)
