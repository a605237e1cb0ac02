"""`edgebehave demo`: from a log to predictions on the device, in one command."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebehave_cli import log_columns
from edgebehave_cli.console import note, print_table
from edgebehave_cli.evaluate import show_table
from edgebehave_cli.training_progress import TrainingProgress

_EPOCHS = 8
"""Passes over the log: two minutes for the simulated one; `edgebehave train` takes up to 18."""

if TYPE_CHECKING:  # annotations must not import torch
    from edgebehave_train.logs.event_store import EventStore


def demo(
    log: Annotated[list[Path] | None, typer.Argument(help="Your log; without one, the simulator's.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")] = Path("runs/demo"),
    user: log_columns.User = "user",
    event_time: Annotated[str, typer.Option("--time", help="Column of times.")] = "time",
    event: log_columns.Event = "event",
    location: log_columns.Location = None,
    utc_offset: log_columns.UtcOffset = None,
    behavior: log_columns.Behavior = None,
    max_bad: log_columns.MaxBad = 0.01,
    split: Annotated[str, typer.Option(help="time or user, see `edgebehave train`.")] = "time",
    preset: Annotated[str, typer.Option(help="Size of the model.")] = "tiny",
    objective: Annotated[str, typer.Option(help="ce, or dro for the rare behaviors.")] = "dro",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Does it work on my data? Ingest, train, compare with every baseline, export, predict.

    Example: [bold]edgebehave demo[/bold]

    Example: [bold]edgebehave demo log.csv --user uid --time ts --event app --location location[/bold]
    """
    import shutil

    from edgebehave_export.bundle import export_bundle
    from edgebehave_export.parity.report import ParityError
    from edgebehave_train.evaluation.evaluation import evaluate
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.logs.ingest import IngestConfig, ingest
    from edgebehave_train.logs.split import SplitConfig
    from edgebehave_train.training.objectives import ObjectiveConfig
    from edgebehave_train.training.pretraining import pretrain
    from edgebehave_train.training.recipes import PRESETS

    started = time.monotonic()

    def step(title: str) -> None:
        note(f"\n[{time.monotonic() - started:5.0f} s] {title}")

    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    config = PRESETS[preset](
        seed=seed,
        epochs=_EPOCHS,
        split=SplitConfig(by=split),  # type: ignore[arg-type]  # SplitConfig checks the name
        objective=ObjectiveConfig(name=objective),  # type: ignore[arg-type]  # it checks the name
    )
    best: str | None = None
    out.mkdir(parents=True, exist_ok=True)
    if log:
        columns = IngestConfig(
            log=log,
            out=out / "store",
            user=user,
            time=event_time,
            event=event,
            location=location,
            utc_offset=utc_offset,
            behavior=behavior,
            max_bad=max_bad,
            overwrite=True,
        )
    else:
        from edgebehave_train.simulator.log import SimulatorConfig, ceiling, simulate, write_log

        step("Simulate a log (or give your own: edgebehave demo LOG --user ... --event ...)")
        simulated = simulate(SimulatorConfig(seed=seed))
        write_log(simulated, out / "log.csv.gz")
        note(f"{simulated.num_events:,} events -> {out / 'log.csv.gz'}")
        reachable = ceiling(simulated, skip=config.split.train + config.split.validation)
        best = (
            f"best reachable here, by the process that made the log: HR@1 {reachable.hr_at_1:.3f}, "
            f"HR@3 {reachable.hr_at_3:.3f}, macro recall {reachable.macro_recall:.3f} "
            f"(or {reachable.balanced_macro_recall:.3f} at the cost of HR@1)"
        )
        columns = IngestConfig(
            log=out / "log.csv.gz",
            out=out / "store",
            user="user",
            time="time",
            event="event",
            location="location",
            utc_offset="utc_offset_min",
            behavior="behavior",
            overwrite=True,
        )
    step("Ingest it into an event store")
    ingest(columns, note)
    store = EventStore.open(out / "store")

    step(f"Train the {preset} model")
    if (out / "checkpoint" / "config.json").exists():  # of an earlier demo
        shutil.rmtree(out / "checkpoint")
    with TrainingProgress() as progress:
        checkpoint = pretrain(store, config, out / "checkpoint", on_progress=progress.report)

    step("Compare it with every baseline, on events that nobody has seen")
    table = evaluate(store, [checkpoint], names=["edgebehave"], part="test")
    show_table(table)
    if best and split == "time":  # the ceiling is that of the last events of every user
        print(best)

    step("Export it to int8 ONNX, checked against the checkpoint on real histories")
    try:
        export_bundle(checkpoint.path, store.path, out / "bundle", "int8", overwrite=True, report=note)
    except ParityError as error:
        note(f"int8 changes too much on this log, so the bundle is fp32: {error}")
        export_bundle(checkpoint.path, store.path, out / "bundle", "fp32", overwrite=True, report=note)

    step("Predict with the SDK from the bundle (numpy and onnxruntime, no torch)")
    _show_predictions(out / "bundle", store)
    note(f"\n[{time.monotonic() - started:5.0f} s] done; everything is in {out}")


def _show_predictions(bundle: Path, store: "EventStore", num_users: int = 3) -> None:
    """Replay some users on the SDK up to their last behavior, and show what it expected."""
    from edgebehave import Predictor

    predictor = Predictor.load(bundle)
    rows = []
    for index, user in enumerate(store.users()[:num_users]):
        events = list(store.named_events(index))
        last = max((i for i, e in enumerate(events) if e.behavior is not None), default=0)
        for event in events[:last]:
            event.tell(predictor, user)
        came = events[last]
        expected = predictor.predict(user, 3, at=came.time_s, utc_offset_min=came.utc_offset_min)
        rows.append(
            [
                user,
                str(last),
                ", ".join(f"{p.behavior} {p.probability:.2f}" for p in expected),
                came.behavior or "",
            ]
        )
    print_table("what comes next", ["user", "events", "predicted", "came"], rows)
