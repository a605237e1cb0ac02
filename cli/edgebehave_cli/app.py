"""The Typer application: `edgebehave VERB ...`. Verbs import what they need when they run."""

from collections.abc import Callable
from typing import Annotated

import typer

from edgebehave_cli import (
    adapt,
    bench,
    check,
    compare,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    generate,
    ingest,
    llm,
    predict,
    pull,
    push,
    report,
    scale,
    simulate,
    train,
    transfer,
    universal,
)
from edgebehave_cli.console import fail, is_first_process, survive_any_encoding
from edgebehave_cli.help_text import help_of


def _print_version(asked: bool) -> None:
    if asked:
        from edgebehave.version import __version__  # imported here: the package brings numpy along

        print(f"edgebehave {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """On-device next-behavior prediction: from an event log to a model on the device."""


app = typer.Typer(
    name="edgebehave",
    callback=_options,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_MORE_TRAINING = "Other ways to train"
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "From a log to predictions": (
        demo.demo,
        ingest.ingest,
        train.train,
        evaluate.evaluate,
        report.report,
        export.export,
        predict.predict,
    ),
    _MORE_TRAINING: (
        compare.compare,
        adapt.adapt,
        transfer.transfer,
        distill.distill,
        universal.universal,
        scale.scale,
    ),
    "Simulate, generate, measure": (simulate.simulate, generate.generate, bench.bench),
    "Share and check": (push.push, pull.pull, check.check, doctor.doctor),
}
for _panel, _verbs in _PANELS.items():
    for _verb in _verbs:
        app.command(help=help_of(_verb), rich_help_panel=_panel)(_verb)
app.add_typer(llm.app, name="llm", rich_help_panel=_MORE_TRAINING)

_EXTRA_OF_MODULE = {
    "torch": "train",
    "safetensors": "train",
    "duckdb": "train",
    "pyarrow": "train",
    "scipy": "train",
    "matplotlib": "train",
    "jinja2": "train",
    "peft": "train",
    "huggingface_hub": "hub",
    "transformers": "llm",
    "tokenizers": "llm",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "cpu",
}


def main() -> None:
    """Run the command; a user's mistake is one line, a bug keeps its traceback."""
    survive_any_encoding()
    try:
        app()
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        fail(f"{error.name} is not installed; pip install 'edgebehave[{extra}]'")
    except (ValueError, OSError) as error:
        if not is_first_process() and type(error).__name__ not in ("RankError", "LostProcessError"):
            raise SystemExit(2) from None  # the first process has the same error, and prints it
        fail(str(error))
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # a full disk, or a damaged file
            raise
        fail(f"weights cannot be written or read: {error}")


if __name__ == "__main__":
    main()
