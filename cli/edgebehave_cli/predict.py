"""`edgebehave predict`: the next behavior of a user of a log, or of all of them, from a bundle."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json, print_table
from edgebehave_cli.progress import ProgressBar
from edgebehave_cli.settings import parse_moment


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle, from `edgebehave export`.")],
    store: options.PastStore,
    user: Annotated[str | None, typer.Option(help="Name of the user to print predictions for.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File for the predictions of all users: scores.parquet or scores.csv."),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --out: a file with a user name per line; default: all users."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --out: number of processes; default: one per core.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Moment to predict for, for example 2026-04-01T08:00+02:00; default: not known.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Largest number of behaviors per user.")] = 5,
    json: options.Json = False,
) -> None:
    """Print the most probable next behaviors of a user, or write those of all users to a file.

    The SDK observes the events of the store and predicts with the bundle, as on a device. The file has a row per user
    and rank, with the columns user, rank (1 is the most probable), behavior and probability (docs/predictions.md).

    Example: [bold]edgebehave predict runs/bundle -s runs/store --user u17[/bold]

    Example: [bold]edgebehave predict runs/bundle -s runs/store -o scores.parquet --k 5[/bold]
    """
    moment = parse_moment(at)
    if out is not None and user is None:
        _predict_all(bundle, store, out, users=users, workers=workers, at=moment, k=k, json=json)
        return
    if user is None:
        raise ValueError("give --user NAME to print its predictions, or -o scores.parquet for those of all users")
    if not (out is None and users is None and workers is None):
        raise ValueError("--user prints the predictions of one user: leave out --out, --users and --workers")
    from edgebehave import Predictor
    from edgebehave_train.logs.event_store import EventStore

    log = EventStore.open(store)
    names = log.users()
    if user not in names:
        raise ValueError(f"{store} has no user {user!r}; it has for example {names[0]!r}")
    predictor = Predictor.load(bundle, max_ahead=None)  # a log, not a device
    for event in log.named_events(names.index(user)):
        event.observe_in(predictor, user)
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


def _predict_all(
    bundle: Path,
    store: Path,
    out: Path,
    *,
    users: Path | None,
    workers: int | None,
    at: datetime | None,
    k: int,
    json: bool,
) -> None:
    """Write the predictions of many users."""
    from edgebehave_train.predictions.all_users import PredictionConfig, predict_all

    names = None if users is None else _lines(users)
    config = PredictionConfig(bundle=bundle, store=store, out=out, k=k, at=at, users=names, workers=workers)
    with ProgressBar() as bar:
        counts = predict_all(
            config, lambda done, total: bar.show(done / total, f"{done:,} of {total:,} users", f"-> {out.name}")
        )
    if json:
        print_json({"out": str(out), "num_users": counts.num_users, "num_rows": counts.num_rows})
        return
    note(f"{counts.num_rows:,} predictions for {counts.num_answered:,} users -> {out}")
    if counts.num_answered < counts.num_users:
        note(f"{counts.num_users - counts.num_answered:,} users have no behavior to predict, and no row")


def _lines(path: Path) -> list[str]:
    """The lines of a file of names that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; --users takes a text file with a name per line") from None
    return [line for line in text.split("\n") if line.strip()]
