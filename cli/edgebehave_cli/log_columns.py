"""The options that say which column of a log is what; `ingest` and `demo` share them."""

from typing import Annotated

import typer

User = Annotated[str, typer.Option(help="Column of user names.")]
Time = Annotated[str, typer.Option(help="Column of times: unix seconds or milliseconds, or ISO 8601.")]
Event = Annotated[str, typer.Option(help="Column of event names.")]
Location = Annotated[str | None, typer.Option(help="Column of locations; blank cells = no location.")]
UtcOffset = Annotated[str | None, typer.Option(help="Column of minutes to add to UTC for local time.")]
Behavior = Annotated[
    str | None,
    typer.Option(help="Column of behaviors, what is predicted; default: the event itself."),
]
MaxBad = Annotated[float, typer.Option(min=0, max=1, help="Share of rows that may be rejected before it stops.")]
TimeUnit = Annotated[str, typer.Option(help="Unit of the times: auto detects it and says so.", metavar="UNIT")]
