"""`edgebehave llm export`: a tuned language model becomes a Hugging Face folder and ONNX files."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json


def export(
    model: Annotated[Path, typer.Argument(help="Tuned model, from `edgebehave llm tune`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the export.")],
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="Event store it was tuned on; needed for --onnx.")
    ] = None,
    onnx: Annotated[bool, typer.Option(help="Also as ONNX with a cache, float32 and int8 (extra llm-onnx).")] = True,
    prompts: Annotated[
        int, typer.Option(min=1, help="Validation samples on which graphs and torch are compared.")
    ] = 200,
    overwrite: Annotated[bool, typer.Option(help="Replace an export in OUT.")] = False,
    json: options.Json = False,
) -> None:
    """Merge the adapters into the base and write it as a Hugging Face folder and as ONNX.

    The ONNX files are not written unless their most probable behavior is that of torch on 99.5 %
    of the prompts.

    Example: [bold]edgebehave llm export runs/llm -o runs/llm-onnx --store runs/store[/bold]

    Merged weights alone: [bold]edgebehave llm export runs/llm -o runs/merged --no-onnx[/bold]
    """
    from edgebehave_export.llm.llm_onnx import export_tuned_llm
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM
    from edgebehave_train.logs.event_store import EventStore

    if onnx and store is None:
        raise ValueError("--onnx compares graphs on prompts: give --store, or --no-onnx")
    result = export_tuned_llm(
        TunedLLM.open(model),
        out,
        EventStore.open(store) if onnx and store else None,
        num_prompts=prompts,
        overwrite=overwrite,
        report=note,
    )
    note(f"exported -> {out}")
    if json:
        print_json(result)
