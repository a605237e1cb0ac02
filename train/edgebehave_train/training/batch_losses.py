"""The losses of a batch: one pass of the model, the time of some queries hidden."""

# M targets of a batch, K kernels

import contextlib
from typing import Any

import torch
from torch import Tensor

from edgebehave.habits import KERNELS, TIMED_KERNELS
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.model.attention import choose_backend
from edgebehave_train.model.behavior_model import UNKNOWN_TIME, BehaviorModel, TargetLosses
from edgebehave_train.model.generation_heads import HeadLosses
from edgebehave_train.model.row_noise import QUERY_SITE
from edgebehave_train.training.batches import Batch
from edgebehave_train.training.hardware import fast_precision
from edgebehave_train.training.objectives import Objective
from edgebehave_train.training.recipes import TrainConfig


class BatchLosses:
    """Losses of a model on a batch, in the precision and with the attention of this machine."""

    def __init__(
        self,
        config: TrainConfig,
        vocabulary: Vocabulary,
        objective: Objective,
        past: PastBehaviors | None,
        device: torch.device,
    ) -> None:
        """past: the columns of the learned kernel's pairs, if it is trained."""
        self.config, self.objective, self.past, self.device = config, objective, past, device
        self.precision = fast_precision(device, config.precision)
        self.backend = choose_backend(device, self.precision)
        self.event_to_behavior = torch.tensor(vocabulary.event_to_behavior, device=device)

    def of(
        self, model: BehaviorModel, batch: Batch, query_dropout: float = 0.0
    ) -> tuple[TargetLosses, HeadLosses | None]:
        """Losses of every target of a batch, and of the generation heads if the model has them.

        query_dropout  share of the targets that a model in training mode sees without their time.
        """
        plan = model.blocks.plan(batch.segment, batch.time_s, self.backend)
        with self._autocast():
            hidden = model.hidden(batch.event, batch.location, batch.weekday, batch.slot, plan)
            weekday, slot, evidence = batch.query_weekday, batch.query_slot, batch.evidence
            time_known = torch.ones(len(batch.where), dtype=torch.bool, device=self.device)
            if self.config.query_context == "none" or (query_dropout and model.training):
                share = 1.0 if self.config.query_context == "none" else query_dropout
                hide = ~model.noise.kept_targets(QUERY_SITE, batch.where, share)
                weekday, slot, evidence = hide_query_time(hide, weekday, slot, evidence)
                time_known = ~hide
            hidden_MD = hidden.flatten(0, 1)[batch.where]
            z = model.query(hidden_MD, weekday, slot, batch.query_location)
            pairs = self.past.pairs(batch.row, time_known) if self.past else None
            losses = model.nll(
                z, batch.target, batch.target_probs, evidence, pairs, self.objective.log_ratio_V, batch.normalizers
            )
            heads = None
            if batch.generation is not None:
                heads = model.generation.losses(
                    hidden_MD, z, batch.generation, model.event, model.location, self.event_to_behavior
                )
            return losses, heads

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)


def hide_query_time(
    hide_M: Tensor, weekday_M: Tensor, slot_M: Tensor, evidence_MK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the time from some queries: no weekday, no slot, no evidence of the timed kernels."""
    is_timed = torch.tensor([name in TIMED_KERNELS for name in KERNELS], device=hide_M.device)
    return (
        torch.where(hide_M, UNKNOWN_TIME, weekday_M),
        torch.where(hide_M, UNKNOWN_TIME, slot_M),
        evidence_MK.masked_fill(hide_M[:, None] & is_timed, 0.0),
    )
