"""`edgebehave doctor`: what is installed, and what is wrong."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import harmless, print_json

if TYPE_CHECKING:  # the annotation must not import numpy
    from edgebehave.vocabulary import Vocabulary


def doctor(
    bundle: Annotated[Path | None, typer.Option(help="A bundle: is it intact, and does it run here?")] = None,
    log: Annotated[Path | None, typer.Option(help="A log or an event store: does the bundle know its names?")] = None,
    user: options.User = "user",
    one_user: options.OneUser = None,
    time: options.Time = "time",
    event: options.Event = "event",
    behavior: options.Behavior = None,
    json: options.Json = False,
) -> None:
    """Show what is installed, what is wrong and what to do about it; exit status 1 if there is a problem.

    It checks the versions of all packages, each extra and both builds of ONNX Runtime, and makes a prediction with the
    model of the package. With a bundle and a log it shows how many events of the log have names that the bundle knows.
    It also runs without the extra cli.

    Example: [bold]edgebehave doctor[/bold]

    Example: [bold]edgebehave doctor --bundle runs/bundle --log log.csv --user uid --time ts --event app[/bold]
    """
    from dataclasses import replace

    from edgebehave_cli.diagnosis import diagnose

    if log is not None and bundle is None:
        raise ValueError("a log is compared with the names of a bundle: add --bundle")
    found = diagnose()
    if bundle is not None:
        columns = {"user": user, "one_user": one_user, "time": time, "event": event, "behavior": behavior}
        facts, problems = _of_bundle(bundle, log, columns)
        found = replace(found, facts={**found.facts, **facts}, problems=[*found.problems, *problems])
    if json:
        print_json(found.to_json())
    else:
        for line in found.lines():
            print(harmless(line))
    sys.exit(bool(found.problems))


def _of_bundle(bundle: Path, log: Path | None, columns: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Facts about a bundle and problems with it, the log included."""
    from edgebehave import BundleError
    from edgebehave.bundles.bundle import Bundle, open_bundle

    try:
        opened = open_bundle(bundle)
    except (BundleError, ImportError) as error:
        return {}, [str(error)]
    digest = f"digest {opened.manifest['digest'][:12]}"
    if not isinstance(opened, Bundle):
        return {f"bundle {bundle}": f"whole, universal, {digest}; it knows no names and fits any log"}, []
    behaviors = f"{opened.vocabulary.num_behaviors - 1:,} behaviors"
    facts = {f"bundle {bundle}": f"whole, {opened.target}, {opened.manifest['precision']}, {behaviors}, {digest}"}
    if log is None:
        return facts, []
    fact, *problems = _of_log(log, columns, opened.vocabulary)
    return {**facts, f"log {log}": fact}, problems


def _of_log(log: Path, columns: dict[str, Any], vocabulary: "Vocabulary") -> Iterator[str]:
    """The share of a log that the vocabulary knows, then a problem if it is too small."""
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.logs.ingest import IngestConfig, ingest
    from edgebehave_train.logs.vocabulary_fit import vocabulary_fit

    with tempfile.TemporaryDirectory() as folder:
        store = log
        if not (log / "statistics.json").is_file():
            store = Path(folder) / "store"
            ingest(IngestConfig(log=[log], out=store, days=True, **columns), lambda line: None)
        fit = vocabulary_fit(EventStore.open(store), vocabulary)
    unknown = f"; not {', '.join(map(repr, fit.unknown))}" if fit.unknown else ""
    yield (
        f"the bundle knows the names of {fit.event_share:.1%} of its events, {fit.name_share:.1%} of its names{unknown}"
    )
    if fit.foreign_users > 0.5:
        yield (
            f"the bundle was made for another log: of {fit.foreign_users:.0%} of the users of {log} it knows hardly "
            "any name, and the universal model answers for them; train on this log, or name another column (--event)"
        )
