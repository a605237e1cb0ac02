"""`edgebehave ingest`: a log becomes an event store."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json


def ingest(
    log: Annotated[list[Path], typer.Argument(help="CSV, TSV, JSON Lines or Parquet, or .gz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the event store.")],
    user: options.User = "user",
    time: options.Time = "time",
    event: options.Event = "event",
    location: options.Location = None,
    utc_offset: options.UtcOffset = None,
    behavior: options.Behavior = None,
    max_bad: options.MaxBad = 0.01,
    time_unit: Annotated[
        str, typer.Option(metavar="UNIT", help="Unit of the times; auto detects it and prints it.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace the store in OUT.")] = False,
    json: options.Json = False,
) -> None:
    """Read an event log, clean it, and write the event store that training reads.

    Rows that cannot be used are counted by reason and shown with file and line. The same rows in
    any order give the same store.

    Example: [bold]edgebehave ingest log.csv -o runs/store --user uid --time ts --event app[/bold]
    """
    from edgebehave_train.logs.ingest import IngestConfig
    from edgebehave_train.logs.ingest import ingest as ingest_log

    config = IngestConfig(
        log=log,
        out=out,
        user=user,
        time=time,
        event=event,
        location=location,
        utc_offset=utc_offset,
        behavior=behavior,
        max_bad=max_bad,
        time_unit=time_unit,
        overwrite=overwrite,
    )
    statistics = ingest_log(config, note)
    if json:
        print_json(statistics)
