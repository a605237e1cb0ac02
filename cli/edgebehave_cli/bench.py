"""`edgebehave bench`: what one prediction costs on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli.console import JsonOption, print_json


def bench(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint, from `edgebehave train`.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", "-s", help="Event store for real histories; default: made-up ids."),
    ] = None,
    calls: Annotated[int, typer.Option(min=10, help="Timed calls of each contender.")] = 1000,
    warm_up: Annotated[int, typer.Option(min=0, help="Calls before the clock starts.")] = 100,
    json: JsonOption = False,
) -> None:
    """Time one event plus one prediction: torch, ONNX Runtime over a window and as a stream, SDK.

    All contenders take turns in one run on one thread, so that their ratios hold on a noisy
    machine; p50 and p99, warm and cold caches, one and many users, beside one pass over the
    weights; sizes, and how often int8 and fp32 agree.

    Example: [bold]edgebehave bench runs/edge --store runs/store[/bold]
    """
    from edgebehave_export.benchmark import benchmark

    table = benchmark(checkpoint, store, num_calls=calls, warm_up=warm_up)
    if json:
        print_json(table.to_json())
    else:
        print(table.to_text())
