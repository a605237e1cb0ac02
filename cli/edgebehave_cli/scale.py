"""`edgebehave scale`: a scaling law of the loss in size and data, and the loss it predicts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json, print_table
from edgebehave_cli.progress import GridBar
from edgebehave_cli.settings import parse_numbers

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.scaling.report import ScalingReport


def scale(
    store: options.StoreArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the grid.")],
    grid: Annotated[
        str, typer.Option(help="cpu: ten minutes on two cores. gpu: widths to 512, for a large log.")
    ] = "cpu",
    widths: Annotated[
        str | None, typer.Option(help="Widths, for example 8,16,32,64; they decide the numbers of layers and heads.")
    ] = None,
    shares: Annotated[str | None, typer.Option(help="Shares of the training part, for example 0.1,0.2,0.5,1.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each size and share.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the whole log; a share of it gets more passes.")
    ] = None,
    habits: Annotated[
        bool, typer.Option(help="Mix with the habit kernels; they hide the effect of the network's size.")
    ] = False,
    query_context: options.QueryContext = "time",
    split: options.Split = "time",
    resamples: Annotated[int, typer.Option(min=10, help="Refits to resampled losses, for the intervals.")] = 200,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Fit L(N, D) = C_N N^-alpha + C_D D^-beta + L0 to a grid of sizes and data amounts.

    The largest run is predicted from all smaller ones before it is trained. OUT holds the prediction, the losses, the
    law with its uncertainty, the compute-optimal ratio and a figure. A killed grid continues with the same command;
    finished runs are kept.

    N is the number of parameters without the embedding tables, D the number of training events; L is the loss of the
    validation part, in nats.

    Example: [bold]edgebehave scale runs/store -o runs/scaling[/bold]

    Example: [bold]edgebehave scale runs/store -o runs/big --grid gpu --device cuda[/bold]
    """
    from edgebehave_train.logs.event_store import EventStore
    from edgebehave_train.logs.split import SplitConfig
    from edgebehave_train.scaling.figure import draw_scaling
    from edgebehave_train.scaling.grid import GRIDS
    from edgebehave_train.scaling.scaling import scale as run_grid

    if grid not in GRIDS:
        raise ValueError(f"grid must be one of {', '.join(GRIDS)}, got {grid!r}")
    changes: dict[str, Any] = {
        "seeds": seeds,
        "habits": habits,
        "query_context": query_context,
        "split": SplitConfig(by=split),  # type: ignore[arg-type]  # SplitConfig checks the name
    }
    if widths is not None:
        changes["widths"] = parse_numbers("--widths", widths, int)
    if shares is not None:
        changes["shares"] = parse_numbers("--shares", shares, float)
    if epochs is not None:
        changes["epochs"] = epochs
    planned = GRIDS[grid](**changes)
    with GridBar("the same command goes on where it was") as bar:
        report = run_grid(
            EventStore.open(store), planned, out, device=device, num_resamples=resamples, on_progress=bar.report
        )
    draw_scaling(report, out / "scaling.png")
    note(f"figure -> {out / 'scaling.png'}")
    if json:
        print_json(report.to_json())
    else:
        show_report(report)


def show_report(report: "ScalingReport") -> None:
    """Print a grid: runs beside the law, the prediction of the largest run, the law, the optimum."""
    rows = []
    for run in (*report.smaller, *report.held_out):
        fitted = float(report.smaller_law.law.loss(run.size, run.events))
        width = f"{run.point.width}" + (" held out" if run in report.held_out else "")
        counts = f"{run.size:,}", f"{run.events:,}", f"{run.point.seed}", f"{run.best_epoch}"
        rows.append([width, *counts, f"{run.loss:.4f}", f"{fitted:.4f}", f"{fitted / run.loss - 1:+.2%}"])
    columns = ["width", "N", "D", "seed", "best epoch", "loss", "law", "law / loss - 1"]
    print_table("validation loss in nats; the law knows all but the held-out runs", columns, rows)
    predicted, copied = report.predicted, report.copied
    print(
        f"largest run: predicted {predicted.value:.4f} [{predicted.low:.4f}, {predicted.high:.4f}],"
        f" measured {report.measured:.4f}, error {report.error:+.2%}; "
        f"without a law (lowest smaller run) {copied / report.measured - 1:+.2%}"
    )
    law = {name: f"{i.value:.4g} [{i.low:.4g}, {i.high:.4g}]" for name, i in report.law.intervals().items()}
    print(
        "law of all runs: "
        f"C_N {law['size_constant']}, alpha {law['size_exponent']}, "
        f"C_D {law['data_constant']}, beta {law['data_exponent']}, L0 {law['floor']} nats"
    )
    for at in report.to_json()["compute_optimum"]:
        ratio, low, high = at["events_per_parameter"]
        print(
            f"compute-optimal at 6 N D = {at['compute']:.2e}: N {at['parameters']:,.0f}, "
            f"D {at['events']:,.0f}, {ratio:.3g} [{low:.3g}, {high:.3g}] events per parameter, "
            f"loss {at['loss']:.4f}"
        )
    for line in report.doubts():
        print(f"not known: {line}")
