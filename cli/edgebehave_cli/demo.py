"""`edgebehave demo`: from a log to predictions on the device, in one command."""

import shlex
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_table
from edgebehave_cli.evaluation_table import UNIVERSAL, show_table
from edgebehave_cli.progress import TrainingBar
from edgebehave_cli.settings import recipe, starts_from_universal, with_settings
from edgebehave_cli.zone_question import zone_question

if TYPE_CHECKING:  # annotations must not import torch
    from edgebehave_train.logs.event_store import EventStore

_EPOCHS = 8
"""Passes over the log: two minutes for the simulated one; `edgebehave train` takes up to 18."""

_SIMULATED_COLUMNS = {
    **{name: name for name in ("user", "time", "event", "location", "behavior")},
    "utc_offset": "utc_offset_min",
}


def demo(
    log: Annotated[
        list[Path] | None, typer.Argument(help="Your log, or a known export; default: a simulated log.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all files.")] = Path("runs/demo"),
    user: options.User = "user",
    one_user: options.OneUser = None,
    event_time: options.Time = "time",
    event: options.Event = "event",
    location: options.Location = None,
    utc_offset: options.UtcOffset = None,
    behavior: options.Behavior = None,
    date: options.Date = None,
    timezone: options.Timezone = None,
    time_format: options.TimeFormat = None,
    time_unit: options.TimeUnit = "auto",
    null: options.Null = None,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    days: options.Days = False,
    max_bad: options.MaxBad = 0.01,
    split: options.Split = "time",
    preset: options.Preset = "tiny",
    objective: Annotated[str, typer.Option(help="ce, or dro for the rare behaviors.")] = "dro",
    from_: options.From = "auto",
    seed: options.Seed = 0,
) -> None:
    """Try everything on a log: ingest, train, compare with every baseline, export, predict, report.

    Example: [bold]edgebehave demo[/bold]

    Example: [bold]edgebehave demo aw-buckets-export.json --timezone Europe/Berlin[/bold]

    Example: [bold]edgebehave demo log.csv --user uid --time ts --event app --location location[/bold]
    """
    import dataclasses
    import shutil

    from edgebehave_train.evaluation.table import evaluate
    from edgebehave_train.evaluation.verdict import verdict
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.logs.ingest import IngestConfig, ingest
    from edgebehave_train.report.report import write_report
    from edgebehave_train.training.pretraining import pretrain
    from edgebehave_train.training.universal_start import SHIPPED
    from edgebehave_train.universal.answers import predict_targets
    from edgebehave_train.universal.pretraining import load_universal

    started = time.monotonic()

    def step(title: str) -> None:
        note(f"\n[{time.monotonic() - started:5.0f} s] {title}")

    settings = {"seed": seed, "epochs": _EPOCHS, "split.by": split, "objective.name": objective}
    config = with_settings(recipe(preset), settings)
    columns: dict[str, Any] = {
        "log": log,
        "user": user,
        "one_user": one_user,
        "time": event_time,
        "event": event,
        "location": location,
        "utc_offset": utc_offset,
        "behavior": behavior,
        "date": date,
        "timezone": timezone,
        "time_format": time_format,
        "time_unit": time_unit,
        "nulls": null or (),
        "delimiter": delimiter,
        "encoding": encoding,
        "days": days,
        "max_bad": max_bad,
    }
    best: str | None = None
    out.mkdir(parents=True, exist_ok=True)
    if not log:
        step("Simulate a log (or give your own: edgebehave demo LOG --user ... --event ...)")
        best = _simulate(out / "log.csv.gz", seed, skip=config.split.train + config.split.validation)
        columns = {"log": out / "log.csv.gz", **_SIMULATED_COLUMNS}
    step("Ingest it into an event store")
    ingest(IngestConfig(**columns, out=out / "store", overwrite=True), note, ask_zone=zone_question())
    store = EventStore.open(out / "store")

    config = dataclasses.replace(config, from_universal=starts_from_universal(from_, store))
    step(f"Train the {preset} model" + (", from the universal model" if config.from_universal else ""))
    if (out / "checkpoint" / "config.json").exists():  # of an earlier demo
        shutil.rmtree(out / "checkpoint")
    with TrainingBar() as bar:
        checkpoint = pretrain(store, config, out / "checkpoint", on_progress=bar.report)

    step("Compare it with every baseline, on events that were not trained on")
    universal = partial(predict_targets, load_universal(SHIPPED))
    table = evaluate(store, [checkpoint], names=["edgebehave"], part="test", peers={UNIVERSAL: universal})
    show_table(table)
    if best and split == "time":  # the ceiling is that of the last events of every user
        print(best)

    step("Export it to int8 ONNX, checked against the checkpoint on real histories")
    _export(checkpoint.path, store.path, out / "bundle")

    step("Predict with the SDK from the bundle (numpy and onnxruntime, no torch)")
    _show_predictions(out / "bundle", store)

    step("Write the report")
    page, name = out / "report.html", log[0].name if log else "simulated log"
    write_report(store, checkpoint, page, table=table, bundle=out / "bundle", name=name)
    print(verdict(table))
    kept = (checkpoint.training.universal or {}).get("kept")
    if kept == "universal":
        note("the bundle answers by the universal model as it is: on this log training did not make it better")
    note(f"\n[{time.monotonic() - started:5.0f} s] done; everything is in {out}; open {page} in a browser")
    note(f"next: edgebehave predict {out / 'bundle'} --store {out / 'store'} --user {shlex.quote(store.users()[0])}")


def _simulate(file: Path, seed: int, *, skip: float) -> str:
    """Write a simulated log. The best metrics that a model can reach on it, behind a share of each user's events."""
    from edgebehave_train.simulator.log import SimulatorConfig, ceiling, simulate, write_log

    simulated = simulate(SimulatorConfig(seed=seed))
    write_log(simulated, file)
    note(f"{simulated.num_events:,} events -> {file}")
    reachable = ceiling(simulated, skip=skip)
    return (
        f"best reachable here, by the process that made the log: HR@1 {reachable.hr_at_1:.3f}, "
        f"HR@3 {reachable.hr_at_3:.3f}, macro recall {reachable.macro_recall:.3f} "
        f"(or {reachable.balanced_macro_recall:.3f} at the cost of HR@1)"
    )


def _export(checkpoint: Path, store: Path, bundle: Path) -> None:
    """Write the bundle in int8, or in fp32 if int8 fails the parity gate."""
    from edgebehave_export.bundle import export_bundle
    from edgebehave_export.parity.report import ParityError

    try:
        export_bundle(checkpoint, store, bundle, "int8", overwrite=True, on_line=note)
    except ParityError as error:
        note(f"int8 changes too much on this log, so the bundle is fp32: {error}")
        export_bundle(checkpoint, store, bundle, "fp32", overwrite=True, on_line=note)


def _show_predictions(bundle: Path, store: "EventStore", num_users: int = 3) -> None:
    """Give the SDK the events of some users up to their last behavior, and print its prediction."""
    from edgebehave import Predictor

    predictor = Predictor.load(bundle, max_ahead=None)  # a log, not a device
    rows = []
    for index, user in enumerate(store.users()[:num_users]):
        events = list(store.named_events(index))
        last = max((i for i, e in enumerate(events) if e.behavior is not None), default=0)
        for event in events[:last]:
            event.observe_in(predictor, user)
        came = events[last]
        expected = predictor.predict(user, 3, at=came.time_s, utc_offset_min=came.utc_offset_min)
        predicted = ", ".join(f"{p.behavior} {p.probability:.2f}" for p in expected)
        rows.append([user, str(last), predicted, came.behavior or ""])
    print_table("what comes next", ["user", "events", "predicted", "came"], rows)
