"""`edgebehave generate`: a possible future of a user of a log, event by event."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import print_json, print_table

if TYPE_CHECKING:  # the annotation must not import numpy
    from edgebehave_train.logs.event_store import NamedEvent


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint with generation heads.")],
    store: options.PastStore,
    user: options.PastUser,
    steps: Annotated[int, typer.Option(min=1, help="Number of events to generate.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same future.")] = 0,
    temperature: Annotated[
        float, typer.Option(help="Greater than 0; below 1, likely events become more likely.")
    ] = 1.0,
    top_p: Annotated[
        float, typer.Option(help="Draw from the smallest set of names that has this probability, in (0, 1].")
    ] = 1.0,
    json: options.Json = False,
) -> None:
    """Draw one possible future of a user: time, location, event and behavior of each step.

    The checkpoint needs generation heads: edgebehave train ... --set generation_heads=true

    Example: [bold]edgebehave generate runs/edge -s runs/store --user u17 --steps 20[/bold]
    """
    from edgebehave.answers.sampling import Sampling
    from edgebehave_train.generation.generation import Generator
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.training.checkpoint import Checkpoint

    sampling = Sampling(temperature=temperature, top_p=top_p)
    generator = Generator(Checkpoint.open(checkpoint), EventStore.open(store))
    prompts = generator.prompts_of([user])
    futures = generator.generate(prompts, steps, seed=seed, sampling=sampling)
    events = list(generator.named(prompts, futures, 0))
    if json:
        print_json([{**event._asdict(), "local_time": _local_time(event)} for event in events])
        return
    num_known = int(prompts.stop[0] - prompts.start[0])
    print_table(
        f"a possible future of {user} after {num_known:,} events, seed {seed}",
        ["local time", "location", "event", "behavior"],
        [[_local_time(e), e.location or "", e.event, e.behavior or ""] for e in events],
    )


def _local_time(event: "NamedEvent") -> str:
    zone = datetime.timezone(datetime.timedelta(minutes=event.utc_offset_min))
    return datetime.datetime.fromtimestamp(event.time_s, zone).isoformat(sep=" ")
