"""The losses of an epoch on the validation part, which choose the weights."""

# M targets of the part

import math
from dataclasses import dataclass

import numpy as np
import torch

from edgebehave_train.logs.packing import pack_rows
from edgebehave_train.metrics.prediction_metrics import reciprocal_rank
from edgebehave_train.metrics.ranking import Ranking
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.batch_losses import BatchLosses
from edgebehave_train.training.batches import TrainingLog
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.recipes import TrainConfig

_ROW_EVENTS = 4096
_PAD_EVENTS = 1024


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Losses of an epoch on the validation part, in nats.

    nll   mean -log p of the targets under the mixture.
    loss  of the objective (`Objective.validation_loss`); nll itself for ce.
    head_nll  of each generation head.
    rank  mean reciprocal rank of the targets; NaN unless it chooses the epoch.
    """

    nll: float
    loss: float
    head_nll: dict[str, float]
    rank: float = math.nan


@torch.no_grad()
def validate(
    model: BehaviorModel,
    config: TrainConfig,
    parts: LogParts,
    data: TrainingLog,
    losses_of_batch: BatchLosses,
    progress: float,
) -> Validation:
    """The losses of a model on the validation part; it is left in evaluation mode.

    data      the log of `parts` on the device of the model.
    progress  of the run, 0..1: an objective may weigh losses by it.
    """
    model.eval()
    objective = losses_of_batch.objective
    is_validated = torch.from_numpy(parts.is_validated).to(data.device)
    nlls, losses_of_targets, targets = [], [], []
    of_head = dict.fromkeys(("gap", "event", "location"), 0.0)
    for row in pack_rows(parts.validation_ranges, _ROW_EVENTS, cut=False):
        # Few different lengths, because oneDNN compiles a kernel for every new shape.
        padding = -len(row) % _PAD_EVENTS
        padded = np.append(row, np.full(padding, -1))
        batch = data.batch([padded], is_validated)
        if len(batch.where):
            losses, heads = losses_of_batch.of(model, batch)
            nlls.append(losses.nll.float())
            losses_of_targets.append(objective.target_loss(nlls[-1], losses.log_normalizer, batch.target))
            targets.append(batch.target)
            for name in of_head if heads is not None else ():
                of_head[name] += float(getattr(heads, name)) * len(batch.where)
    nll_M, loss_M, target_M = (torch.cat(t).cpu() for t in (nlls, losses_of_targets, targets))
    return Validation(
        nll=float(nll_M.double().mean()),
        loss=objective.validation_loss(loss_M, target_M, progress),
        head_nll={name: value / len(nll_M) for name, value in of_head.items() if config.generation_heads},
        rank=_rank(model, parts) if config.choose_by == "rank" else math.nan,
    )


def _rank(model: BehaviorModel, parts: LogParts) -> float:
    """Mean reciprocal rank of the validation targets, as `evaluate` finds it."""
    ranking = Ranking(parts.validation_targets)
    for which, probs in target_probs(model, parts.log, parts.behaviors, ranking.targets):
        ranking.add(which, probs)
    return float(reciprocal_rank(ranking.finish()).mean())
