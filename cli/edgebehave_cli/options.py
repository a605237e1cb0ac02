"""Options that several verbs share: the columns of a log, and settings of a run."""

from pathlib import Path
from typing import Annotated

import typer

# The columns of a log: `ingest` and `demo`.
User = Annotated[str, typer.Option(help="Column of user names.")]
Time = Annotated[
    str, typer.Option("--time", help="Column of times: numbers or dates; with --date, of clocks, as 07:02:41.")
]
Date = Annotated[str | None, typer.Option(help="Column of dates, where --time holds the clock alone.")]
Event = Annotated[str, typer.Option(help="Column of event names.")]
Location = Annotated[str | None, typer.Option(help="Column of locations; blank cells = no location.")]
UtcOffset = Annotated[
    str | None,
    typer.Option(help="Column of minutes to add to UTC for local time, or of +05:30, +0530 or time zones."),
]
Timezone = Annotated[
    str | None, typer.Option(help="Time zone of all users, as Europe/Berlin, for times in UTC and for local clocks.")
]
TimeFormat = Annotated[
    str | None, typer.Option(metavar="FORMAT", help="Form of the times, as '%d.%m.%Y %H:%M'; default: recognized.")
]
TimeUnit = Annotated[str, typer.Option(metavar="UNIT", help="Unit of the times; auto detects it and prints it.")]
Null = Annotated[
    list[str] | None, typer.Option(metavar="WORD", help="A word that means a missing cell; may be repeated.")
]
Delimiter = Annotated[
    str | None, typer.Option(help="Between the cells of a CSV: a character, tab or space; default: recognized.")
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of the text, as latin-1; default: UTF-8.")]
Days = Annotated[
    bool, typer.Option("--days", help="Accept days without a clock; events of a day keep the order of the file.")
]
Behavior = Annotated[
    str | None, typer.Option(help="Column of behaviors, which are predicted; default: the event itself.")
]
MaxBad = Annotated[float, typer.Option(min=0, max=1, help="Share of rows that may be rejected before it stops.")]

# What a verb reads and writes.
StoreArgument = Annotated[Path, typer.Argument(help="Event store, from `edgebehave ingest`.")]
PastStore = Annotated[Path, typer.Option("--store", "-s", help="Event store with the user's past.")]
CheckpointOut = Annotated[Path, typer.Option("--out", "-o", help="Folder of the new checkpoint.")]
PastUser = Annotated[str, typer.Option(help="Name of the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, for machines.")]

# A hub.
RepoId = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")]
Hub = Annotated[Path | None, typer.Option(metavar="FOLDER", help="A folder in the place of huggingface.co.")]

# Settings of a run.
Preset = Annotated[str, typer.Option(help="Size of the model: tiny, edge, base, large or paper.")]
Split = Annotated[str, typer.Option(help="time: the last events of each user test; user: whole users do.")]
Habits = Annotated[bool, typer.Option(help="Mix with the habit kernels; off: the network alone, as in the paper.")]
QueryContext = Annotated[
    str, typer.Option(help="What is known of the moment to predict for: none, time, time_location.")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes over the data; default: that of the preset or checkpoint.")
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="universal: the universal model of the package, tuned to the log, answers together with the trained one; "
        "scratch: the trained one alone; auto: universal for logs of up to 400,000 events.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, as dropout=0.3; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in OUT, with its own settings.")]
ResumeSame = Annotated[bool, typer.Option("--resume", help="Continue the run in OUT; give all other options again.")]
Resamples = Annotated[int, typer.Option(min=10, help="Bootstrap resamples of users, for the intervals.")]
