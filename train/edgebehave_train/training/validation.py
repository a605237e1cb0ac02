"""The losses of an epoch on the validation part, which choose the weights."""

# M targets of the part, S ranges

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgebehave_train.loading.batches import Batch, TrainingLog
from edgebehave_train.logs.packing import Pieces
from edgebehave_train.logs.split import VALIDATION
from edgebehave_train.metrics.prediction_metrics import reciprocal_rank
from edgebehave_train.metrics.ranking import Ranking
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.batch_losses import BatchLosses
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.recipes import TrainConfig

_ROW_EVENTS = 4096
_BATCH_EVENTS = 4096
_PAD_EVENTS = 32
_BATCHES_AT_ONCE = 8


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
    nlls, losses_of_targets, targets = [], [], []
    of_head = dict.fromkeys(("gap", "event", "location"), 0.0)
    for batch in _batches(parts, data):
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


def _batches(parts: LogParts, data: TrainingLog) -> Iterator[Batch]:
    """The validation part, a row for each range: rows of about one length, which end with their targets."""
    ranges, ask_start = cut_long_ranges(parts.validation_ranges, parts.receptive_field)
    length = ranges[:, 1] - ranges[:, 0]
    order = np.argsort(-length, kind="stable")
    read: list[npt.NDArray[np.int64]] = []
    first = 0
    while first < len(order):
        # Few different shapes, because oneDNN compiles a kernel for every new one.
        width = length[order[first]] + -length[order[first]] % _PAD_EVENTS
        read.append(order[first : first + max(1, _BATCH_EVENTS // width)])
        first += len(read[-1])
        if len(read) == _BATCHES_AT_ONCE or first == len(order):
            which = np.concatenate(read)
            pieces = Pieces(np.arange(len(which)), ranges[which, 0], ranges[which, 1], ask_start[which])
            yield from data.batches(pieces, list(map(len, read)), VALIDATION, _PAD_EVENTS, _PAD_EVENTS, at_end=True)
            read = []


def cut_long_ranges(
    ranges: npt.NDArray[np.int64], receptive_field: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ranges of a bounded length, and the first position of each that has a target.

    A later part of a long range begins so early that the states of its targets are the same.

    ranges   (S, 2) first and past-the-end positions, the first receptive field without a target of its own.
    Returns  (S', 2) and (S',).
    """
    asking_from = np.minimum(ranges[:, 0] + receptive_field - 1, ranges[:, 1] - 1)
    num_parts = np.maximum(1, -(-(ranges[:, 1] - asking_from) // _ROW_EVENTS))
    number = np.arange(num_parts.sum()) - np.repeat(num_parts.cumsum() - num_parts, num_parts)
    first, stop = (np.repeat(values, num_parts) for values in (asking_from, ranges[:, 1]))
    ask_start = first + _ROW_EVENTS * number
    is_first = number == 0
    start = np.where(is_first, np.repeat(ranges[:, 0], num_parts), ask_start - receptive_field + 1)
    cut = np.stack([start, np.minimum(ask_start + _ROW_EVENTS, stop)], 1)
    return cut, np.where(is_first, start, ask_start)


def _rank(model: BehaviorModel, parts: LogParts) -> float:
    """Mean reciprocal rank of the validation targets, as `evaluate` finds it."""
    total, num_targets = 0.0, 0
    for group in parts.groups():
        ranking = Ranking(group.validation_targets)
        if len(ranking.targets):
            for which, probs in target_probs(model, group.log, group.behaviors, ranking.targets):
                ranking.add(which, probs)
            total += float(reciprocal_rank(ranking.finish()).sum())
            num_targets += len(ranking.targets)
    return total / num_targets
