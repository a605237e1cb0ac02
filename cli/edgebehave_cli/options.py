"""Options that several verbs share: the columns of a log, and settings of a run."""

from pathlib import Path
from typing import Annotated

import typer

COLUMNS = "Columns of the log"
READING = "How the log is read"
"""Panels of the help of `ingest` and `demo`."""

# The columns of a log: `ingest` and `demo`.
User = Annotated[str, typer.Option(help="Column of user names.", rich_help_panel=COLUMNS)]
OneUser = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Name of the user, if the log is of one person without a column.", rich_help_panel=COLUMNS
    ),
]
Time = Annotated[
    str,
    typer.Option(
        "--time",
        help="Column of times: numbers, or dates with a time of day; with --date, the time of day alone.",
        rich_help_panel=COLUMNS,
    ),
]
Date = Annotated[
    str | None,
    typer.Option(help="Column of dates, if --time holds only the time of day.", rich_help_panel=COLUMNS),
]
Event = Annotated[str, typer.Option(help="Column of event names.", rich_help_panel=COLUMNS)]
Location = Annotated[
    str | None, typer.Option(help="Column of locations; an empty cell means no location.", rich_help_panel=COLUMNS)
]
UtcOffset = Annotated[
    str | None,
    typer.Option(
        help="Column of offsets of local time: minutes to add to UTC, +05:30, +0530, or names of time zones.",
        rich_help_panel=COLUMNS,
    ),
]
Behavior = Annotated[
    str | None,
    typer.Option(help="Column of the behaviors to predict; default: the event itself.", rich_help_panel=COLUMNS),
]
Timezone = Annotated[
    str | None,
    typer.Option(
        help="Time zone of all users, for example Europe/Berlin; for times in UTC and for times without a zone.",
        rich_help_panel=READING,
    ),
]
TimeFormat = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="Format of the times, for example '%d.%m.%Y %H:%M'; default: recognized.",
        rich_help_panel=READING,
    ),
]
TimeUnit = Annotated[
    str,
    typer.Option(
        metavar="UNIT", help="Unit of the times (docs/logs.md); auto detects and prints it.", rich_help_panel=READING
    ),
]
Null = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD", help="A word that stands for a missing cell; may be repeated.", rich_help_panel=READING
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        help="What separates the cells of a CSV: a character, tab or space; default: recognized.",
        rich_help_panel=READING,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(help="Encoding of the text, for example latin-1; default: UTF-8.", rich_help_panel=READING),
]
Days = Annotated[
    bool,
    typer.Option(
        "--days",
        help="Accept dates without a time of day; the events of a day keep the order of the file.",
        rich_help_panel=READING,
    ),
]
MaxBad = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Largest share of rows that may be rejected; above it nothing is written.",
        rich_help_panel=READING,
    ),
]

# What a verb reads and writes.
StoreArgument = Annotated[Path, typer.Argument(help="Event store, from `edgebehave ingest`.")]
PastStore = Annotated[Path, typer.Option("--store", "-s", help="Event store with the user's past.")]
CheckpointOut = Annotated[Path, typer.Option("--out", "-o", help="Folder of the new checkpoint.")]
PastUser = Annotated[str, typer.Option(help="Name of the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, for other programs.")]

# A hub.
RepoId = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")]
Hub = Annotated[Path | None, typer.Option(metavar="FOLDER", help="A folder to use instead of huggingface.co.")]

# Settings of a run.
Preset = Annotated[str, typer.Option(help="Size of the model: tiny, edge, base, large or paper.")]
Split = Annotated[
    str, typer.Option(help="time: the last events of each user are the test part; user: whole users are.")
]
Habits = Annotated[bool, typer.Option(help="Mix with the habit kernels; off: the network alone, as in the paper.")]
QueryContext = Annotated[
    str, typer.Option(help="What the model knows about the moment to predict for: none, time or time_location.")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes over the data; default: as in the preset or checkpoint.")
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="universal: the universal model of the package is tuned to the log, and validation keeps it, the trained "
        "model or both; scratch: the trained model alone; auto: universal for logs of up to 400,000 events.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Device = Annotated[str, typer.Option(help="Where it runs: auto, cpu, cuda or mps.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, for example dropout=0.3; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in OUT, with its own settings.")]
ResumeSame = Annotated[bool, typer.Option("--resume", help="Continue the run in OUT; give all other options again.")]
Resamples = Annotated[int, typer.Option(min=10, help="Bootstrap resamples of users, for the intervals.")]
