"""`edgebehave simulate`: a made-up event log, to try things on."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import ProgressBar


def _number(text: str) -> int:
    """A whole number, with underscores or commas between its digits."""
    return int(str(text).replace(",", "_"))


def simulate(
    out: Annotated[Path, typer.Argument(help="File to write: log.csv or log.csv.gz; with --events also log.parquet.")],
    users: Annotated[int | None, typer.Option(min=1, help="Number of users; default: 1200.")] = None,
    events: Annotated[
        int | None,
        typer.Option(
            min=1, parser=_number, metavar="N", help="Number of events, for example 100_000_000, instead of --users."
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Days per user.")] = 49,
    seed: options.Seed = 0,
    shuffle: Annotated[bool, typer.Option(help="Write the rows in random order.")] = False,
    json: options.Json = False,
) -> None:
    """Simulate the event log of a crowd of phone users.

    docs/simulator.md describes the process. It determines the best accuracy that a model can reach on the log, which is
    printed.

    With --events the log is made and written in batches of users, on all cores and in little memory at any size.

    Example: [bold]edgebehave simulate log.csv.gz --users 500 --days 30[/bold]

    Example: [bold]edgebehave simulate log.parquet --events 100_000_000[/bold]
    """
    if events is not None and users is not None:
        raise ValueError("give --users or --events, not both: the number of events decides that of the users")
    if events is not None:
        _stream(out, events=events, days=days, seed=seed, shuffle=shuffle, json=json)
        return
    from edgebehave_train.simulator.log import SimulatorConfig, ceiling, write_log
    from edgebehave_train.simulator.log import simulate as simulate_log

    users = 1200 if users is None else users
    log = simulate_log(SimulatorConfig(num_users=users, num_days=days, seed=seed))
    write_log(log, out, shuffle=shuffle)
    best = ceiling(log)
    if json:
        print_json({"out": str(out), "num_events": log.num_events, **dataclasses.asdict(best)})
        return
    note(f"{log.num_events:,} events of {users:,} users over {days} days -> {out}")
    print(
        f"best reachable, time known: HR@1 {best.hr_at_1:.3f}, HR@3 {best.hr_at_3:.3f}, "
        f"HR@5 {best.hr_at_5:.3f}, macro recall {best.balanced_macro_recall:.3f} "
        f"({best.macro_recall:.3f} at the best HR@1)"
    )


def _stream(out: Path, *, events: int, days: int, seed: int, shuffle: bool, json: bool) -> None:
    """Write a log of so many events."""
    from edgebehave_train.simulator.streamed_log import StreamConfig, stream_log

    config = StreamConfig(num_events=events, num_days=days, seed=seed, shuffle=shuffle)
    with ProgressBar() as bar:
        num_users = stream_log(
            config, out, progress=lambda rows: bar.show(rows / events, f"{rows:,} events", f"-> {out.name}")
        )
    if json:
        print_json({"out": str(out), "num_events": events, "num_users": num_users})
        return
    note(f"{events:,} events of {num_users:,} users over {days} days -> {out}")
