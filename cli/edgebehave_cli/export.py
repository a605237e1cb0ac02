"""`edgebehave export`: a checkpoint becomes a bundle for the device."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint, from `edgebehave train`, or a run of the universal model.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", "-s", help="Event store whose histories test the graphs; needed for a checkpoint."),
    ] = None,
    target: Annotated[str, typer.Option(help="Where it will run: native (phone, computer) or web.")] = "native",
    golden: Annotated[
        Path | None,
        typer.Option(
            help="Also write up to 1,000 histories of the log with expected predictions, as a test for clients. The "
            "file is as private as the log: do not ship it with the bundle."
        ),
    ] = None,
    ort: Annotated[bool, typer.Option(help="Also write .ort files, for minimal builds of ONNX Runtime.")] = False,
    precision: Annotated[str, typer.Option(help="int8 or fp32.")] = "int8",
    overwrite: Annotated[bool, typer.Option(help="Replace the bundle in OUT.")] = False,
    json: options.Json = False,
) -> None:
    """Write the ONNX bundle that the SDK loads, after comparing it with the checkpoint.

    Real histories go through torch and through the graphs. If the predictions differ, no bundle is written.

    Example: [bold]edgebehave export runs/edge -o runs/bundle --store runs/store[/bold]

    For a browser, with histories to test the client: [bold]--target web --golden runs/golden.jsonl.gz[/bold]

    The universal model is compared on random worlds, and its bundle fits every target:
    [bold]edgebehave export runs/universal -o runs/universal_bundle[/bold]
    """
    from edgebehave_export.api import export as export_checkpoint

    report = export_checkpoint(
        checkpoint,
        out,
        store,
        precision=precision,  # type: ignore[arg-type]  # checked there
        overwrite=overwrite,
        target=target,  # type: ignore[arg-type]  # as above
        golden=golden,
        ort=ort,
        on_line=note,
    )
    if json:
        print_json(report.to_json())
