"""`edgebehave predict`: ask a bundle what a user of a log does next."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli.console import JsonOption, print_json, print_table


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle, from `edgebehave export`.")],
    store: Annotated[Path, typer.Option("--store", "-s", help="Event store with the user's past.")],
    user: Annotated[str, typer.Option(help="Name of the user.")],
    at: Annotated[
        str | None,
        typer.Option(help="Moment to predict for, ISO 8601 with a zone; default: not known."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many behaviors to show.")] = 5,
    json: JsonOption = False,
) -> None:
    """Feed a user's events to the SDK and print the most probable next behaviors.

    Example: [bold]edgebehave predict runs/bundle -s runs/store --user u17[/bold]
    """
    from edgebehave import Predictor
    from edgebehave_train.logs.event_store import EventStore

    moment = None if at is None else parse_moment(at)
    log = EventStore.open(store)
    names = log.users()
    if user not in names:
        raise ValueError(f"{store} has no user {user!r}; it has for example {names[0]!r}")
    predictor = Predictor.load(bundle)
    for event in log.named_events(names.index(user)):
        event.tell(predictor, user)
    predictions = predictor.predict(user, k, at=moment)
    if json:
        print_json([{"behavior": p.behavior, "probability": p.probability} for p in predictions])
        return
    asked = f"at {moment.isoformat()}" if moment else "whenever it comes"
    print_table(
        f"next behavior of {user} after {predictor.num_events(user):,} events, {asked}",
        ["behavior", "probability"],
        [[p.behavior, f"{p.probability:.3f}"] for p in predictions],
    )


def parse_moment(text: str) -> datetime.datetime:
    """A moment of the command line. Raises ValueError if it is none, or has no zone."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--at takes ISO 8601, as 2026-04-01T08:00+02:00, got {text!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"--at needs a time zone, as {text}+00:00")
    return moment
