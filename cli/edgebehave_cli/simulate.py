"""`edgebehave simulate`: a made-up event log, to try things on."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json


def simulate(
    out: Annotated[Path, typer.Argument(help="File to write: log.csv or log.csv.gz.")],
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = 1200,
    days: Annotated[int, typer.Option(min=1, help="Days per user.")] = 49,
    seed: options.Seed = 0,
    shuffle: Annotated[bool, typer.Option(help="Write the rows in random order.")] = False,
    json: options.Json = False,
) -> None:
    """Simulate the event log of a crowd of phone users.

    docs/simulator.md describes the process. The best accuracy that a model can reach on the log
    follows from the process and is printed.

    Example: [bold]edgebehave simulate log.csv.gz --users 500 --days 30[/bold]
    """
    from edgebehave_train.simulator.log import SimulatorConfig, ceiling, write_log
    from edgebehave_train.simulator.log import simulate as simulate_log

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
