"""`edgebehave bench`: time and size of a prediction on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import print_json


def bench(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint, from `edgebehave train`.")],
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="Event store with histories; default: random ids.")
    ] = None,
    calls: Annotated[int, typer.Option(min=10, help="Timed calls of each way to predict.")] = 1000,
    warm_up: Annotated[int, typer.Option(min=0, help="Untimed calls at the start.")] = 100,
    llm: Annotated[
        Path | None,
        typer.Option(
            help="Language model to compare: from `edgebehave llm export` (torch and ONNX), "
            "`edgebehave llm tune`, or any Hugging Face folder."
        ),
    ] = None,
    llm_calls: Annotated[int, typer.Option(min=1, help="Timed calls of each way to run the language model.")] = 20,
    json: options.Json = False,
) -> None:
    """Time one event plus one prediction: torch, ONNX Runtime over a window and as a stream, SDK.

    All ways to predict alternate in one run on one thread, so their ratios hold on a busy machine, too. The table has
    p50 and p99, warm and cold caches, one and many users, one pass over the weights, sizes, and the agreement of int8
    and fp32. With --llm it also has latency, FLOPs and bytes of a prediction by the language model.

    Example: [bold]edgebehave bench runs/edge --store runs/store[/bold]

    Beside a language model: [bold]edgebehave bench runs/edge --llm runs/llm-export[/bold]
    """
    from edgebehave_export.bench.benchmark import benchmark

    table = benchmark(checkpoint, store, num_calls=calls, warm_up=warm_up)
    if llm is None:
        if json:
            print_json(table.to_json())
        else:
            print(table.to_text())
        return
    from edgebehave_export.llm.benchmark import benchmark_llm

    both = benchmark_llm(llm, checkpoint, table, num_calls=llm_calls)
    if json:
        print_json(table.to_json() | {"llm": both.to_json()})
    else:
        print(table.to_text(), both.to_text(), sep="\n\n")
