"""`edgebehave llm pretrain`: a small stand-in for a language model, for trials."""

from pathlib import Path
from typing import Annotated

import typer

from edgebehave_cli import options
from edgebehave_cli.console import note, print_json
from edgebehave_cli.progress import ProgressBar


def pretrain(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the model.")],
    preset: Annotated[str, typer.Option(help="Size: nano, micro or mini.")] = "micro",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Train a small stand-in for a language model from scratch, for trials without a real one.

    It is trained on made-up text about the simulator's world (docs/world_text.md) and saved as an
    ordinary Hugging Face folder.

    Example: [bold]edgebehave llm pretrain -o small_lm[/bold]
    """
    from edgebehave_train.llm.stand_in.small_lm import small_lm_config, train_small_lm

    config = small_lm_config(preset, steps=steps, seed=seed)
    with ProgressBar() as bar:

        def on_step(step: int, loss: float) -> None:
            bar.show(step / config.num_steps, f"step {step}/{config.num_steps}", f"loss {loss:.3f} nats per token")

        record = train_small_lm(out, config, on_step=on_step)
    if json:
        print_json(record)
        return
    knows = record["knows"]
    note(
        f"{record['num_parameters']:,} parameters, {record['num_tokens']:,} tokens in "
        f"{record['wall_s']:.0f} s -> {out}: a stand-in, no real language model"
    )
    print(
        f"names what a situation in words leads to: anchors {knows['anchors_top_1']:.1%}, "
        f"tail {knows['tail_top_1']:.1%}; among its first five {knows['anchors_top_5']:.1%} "
        f"and {knows['tail_top_5']:.1%}"
    )
