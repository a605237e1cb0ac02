"""The README of a checkpoint: what it is, what it learned from, and what it may be used for."""

from edgebehave.habits import KERNELS
from edgebehave_train.model.behavior_model import ModelConfig
from edgebehave_train.training.checkpoint import TrainingRecord
from edgebehave_train.training.recipes import TrainConfig


def model_card(config: TrainConfig, model_config: ModelConfig, training: TrainingRecord) -> str:
    """Markdown for people who find the folder."""
    shape = f"D {model_config.width}, {model_config.num_layers} layers"
    habits = f"mixed with {len(KERNELS)} habit kernels" if config.habits else "no habits"
    if config.choose_by == "rank":
        chosen_by, best = "mean reciprocal rank", max(training.validation_rank or [], default=None)
    else:
        losses = [loss for loss in training.validation_loss if loss is not None]
        chosen_by, best = "loss, of the objective", min(losses, default=None)
    unit = " nats" if config.choose_by == "loss" else ""
    after = f"{best:.4f}{unit} after epoch {training.best_epoch}" if best else "not yet"
    split = config.split
    return f"""# Next-behavior model

BehaveGPT (arXiv 2505.17631), {shape}, {training.num_parameters:,} parameters, {habits}.

| | |
|---|---|
| predicts | {model_config.num_behaviors - 1} behaviors from {model_config.num_events - 1} events |
| query context | {config.query_context} |
| objective | {config.objective.name} |
| split | by {split.by}, {split.train:.0%} train, {split.validation:.0%} validation |
| data fingerprint | `{training.data_fingerprint}` |
| seed | {config.seed} |
| trained on | {training.device}, {training.precision} |
| validation {chosen_by} | {after} |
| finished | {"yes" if training.finished else "no; go on with `edgebehave train --resume`"} |

What was measured, and how often the test part was read, stands in `metrics.json`. The vocabulary
holds names from the log it learned from; look through `vocabulary.json` before you publish it.

A prediction is p(behavior | the next behavior happens at the time asked for). It is made for
people whose events look like those of the log; for others, measure it first.
"""
