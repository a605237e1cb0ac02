"""`edgebehave predict`: the next behavior of a user of a log, from a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import print_json, print_table
from edgebehave_cli.settings import parse_moment


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle, from `edgebehave export`.")],
    store: options.PastStore,
    user: options.PastUser,
    at: Annotated[
        str | None, typer.Option(help="Moment to predict for, ISO 8601 with a zone; default: not known.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many behaviors to show.")] = 5,
    json: options.Json = False,
) -> None:
    """Feed a user's events to the SDK and print the most probable next behaviors.

    Example: [bold]edgebehave predict runs/bundle -s runs/store --user u17[/bold]
    """
    from edgebehave import Predictor
    from edgebehave_train.logs.event_store import EventStore

    moment = parse_moment(at)
    log = EventStore.open(store)
    names = log.users()
    if user not in names:
        raise ValueError(f"{store} has no user {user!r}; it has for example {names[0]!r}")
    predictor = Predictor.load(bundle, max_ahead=None)  # a log, not a device
    for event in log.named_events(names.index(user)):
        event.tell(predictor, user)
    predictions = predictor.predict(user, k, at=moment)
    if json:
        print_json([{"behavior": p.behavior, "probability": p.probability} for p in predictions])
        return
    asked = f"at {moment.isoformat()}" if moment else "at any time"
    print_table(
        f"next behavior of {user} after {predictor.num_events(user):,} events, {asked}",
        ["behavior", "probability"],
        [[p.behavior, f"{p.probability:.3f}"] for p in predictions],
    )
