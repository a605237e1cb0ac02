"""The losses of a batch: one pass of the model, the time of some queries hidden."""

# M targets of a batch, K kernels

import contextlib
from typing import Any

import torch

from edgebehave.habits import KERNELS
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.kernels.habit_kernels import TargetNumbers, target_numbers
from edgebehave_train.kernels.pairs import PairBlock
from edgebehave_train.loading.batches import Batch
from edgebehave_train.model.attention import choose_backend
from edgebehave_train.model.behavior_model import UNKNOWN_TIME, BehaviorModel, TargetLosses
from edgebehave_train.model.generation_heads import HeadLosses
from edgebehave_train.model.row_noise import QUERY_SITE
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
        device: torch.device,
    ) -> None:
        self.config, self.objective, self.device = config, objective, device
        self.precision = fast_precision(device, config.precision)
        self.backend = choose_backend(device, self.precision)
        self.event_to_behavior = torch.tensor(vocabulary.event_to_behavior, device=device)

    def of(
        self, model: BehaviorModel, batch: Batch, query_dropout: float = 0.0
    ) -> tuple[TargetLosses, HeadLosses | None]:
        """Losses of every target of a batch, and of the generation heads if the model has them.

        query_dropout  share of the targets that a model in training mode sees without their time.
        """
        num_events = batch.event.shape[1]
        # Nearly every event of training has a target; rows of validation end with theirs, and the rest is their past.
        num_last = None if model.training else num_events - int((batch.where % num_events).min())
        plan = model.blocks.plan(batch.segment, batch.time_s, self.backend, num_last)
        with self._autocast():
            hidden = model.hidden(batch.event, batch.location, batch.weekday, batch.slot, plan)
            weekday, slot = batch.query_weekday, batch.query_slot
            hide = torch.zeros(len(batch.where), dtype=torch.bool, device=self.device)
            if self.config.query_context == "none" or (query_dropout and model.training):
                share = 1.0 if self.config.query_context == "none" else query_dropout
                hide = ~model.noise.kept_targets(QUERY_SITE, batch.where, share)
                weekday, slot = (torch.where(hide, UNKNOWN_TIME, value) for value in (weekday, slot))
            hidden_MD = hidden[batch.where // num_events, batch.where % num_events - num_events]
            z = model.query(hidden_MD, weekday, slot, batch.query_location)
            pairs = list(batch.past.blocks(batch.row, ~hide)) if batch.past else []
            habits = self._habits(batch, pairs)
            losses = model.nll(
                z, batch.target, habits.probs, habits.evidence, pairs, self.objective.log_ratio_V, habits.normalizers
            )
            heads = None
            if batch.generation is not None:
                heads = model.generation.losses(
                    hidden_MD, z, batch.generation, model.event, model.location, self.event_to_behavior
                )
            return losses, heads

    def _habits(self, batch: Batch, pairs: list[PairBlock]) -> TargetNumbers:
        """Numbers of the habit kernels; zeros without any."""
        if batch.past is None:
            none = torch.zeros(len(batch.where), len(KERNELS), device=self.device)
            return TargetNumbers(none, none, None)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return target_numbers(pairs, batch.past.behavior[batch.row], batch.past.ratio is not None)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)
