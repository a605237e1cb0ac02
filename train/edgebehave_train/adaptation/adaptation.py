"""Few-shot adaptation: a checkpoint learns behaviors that its pretraining never saw.

The vocabulary grows at its end, so every known id stays the same, and the new names get rows of
their own (`new_rows.py`). Then a part of the model trains on the examples.

The share of a new behavior among the examples is not its share of the log. Training adds
log(r_b / pi_b) to its logits, with r_b its share of the training targets and pi_b that of the log, so
that the model learns p(b) at the log's own shares (logit adjustment, Menon et al. 2021). Known
behaviors are replayed: a random sample of the log trains beside the examples.
"""

# V behaviors

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary
from edgebehave_train.adaptation.new_rows import ROW_STARTS, RowStart, grown_model
from edgebehave_train.adaptation.support_set import Support, choose_support
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import training_vocabulary
from edgebehave_train.logs.split import TRAIN, part_of_event
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.model.lora import BLOCK_LAYERS, inject_lora, merged_state
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import Progress, Start, pretrain
from edgebehave_train.training.recipes import MAX_SEED, TrainConfig

Trained = Literal["all", "head", "lora", "new-rows"]
TRAINED: tuple[Trained, ...] = ("all", "head", "lora", "new-rows")
START_EXAMPLES = 200
"""Examples of each new behavior that its rows are made from when the whole log trains."""
_HEAD = ("head_in", "head_out")


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """Settings of an adaptation.

    train          the part that trains beside the new rows: "all"; "head": the MLP head; "lora": low-rank
                   adapters in the blocks and the head; "new-rows": nothing, known weights stay equal to the bit.
    start          initial values of new rows, see `new_rows.py`.
    examples       k, examples of each new behavior; 0 = all of the training part.
    epochs         passes over the examples, at most.
    learning_rate  peak; None = the default of `train`, chosen on validation parts.
    rank           of the adapters.
    seed           of the choice of examples and of everything else random.
    """

    train: Trained = "all"
    start: RowStart = "prototype"
    examples: int = 0
    epochs: int = 20
    learning_rate: float | None = None
    rank: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train not in TRAINED:
            raise ValueError(f"train must be one of {', '.join(TRAINED)}, got {self.train!r}")
        if self.start not in ROW_STARTS:
            raise ValueError(f"start must be one of {', '.join(ROW_STARTS)}, got {self.start!r}")
        if self.examples < 0:
            raise ValueError(f"examples must not be negative, got {self.examples}")
        for name in ("epochs", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed must lie in [0, 2^63), got {self.seed}")


LEARNING_RATES: dict[Trained, float] = {"all": 1e-3, "head": 1e-3, "lora": 3e-3, "new-rows": 3e-3}


def adapt(
    store: EventStore,
    checkpoint: Checkpoint,
    out: Path,
    config: AdaptConfig,
    *,
    resume: bool = False,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Teach a checkpoint the new behaviors of a log.

    store   the log; its parts are those of the checkpoint's split, and the loss on its validation
            part chooses the epoch. Epoch 0, the start itself, is one of them.
    out     folder of the new checkpoint, which belongs to this log.
    resume  continue a run that was killed; all other arguments as before.
    Raises ValueError if the checkpoint is unfinished, the log has no new behavior, or gives a
    known event another meaning.
    """
    vocabulary = grown_vocabulary(store, checkpoint)
    support = choose_support(store, checkpoint, vocabulary, config.examples, config.seed)
    few = support
    if not config.examples:
        few = choose_support(store, checkpoint, vocabulary, START_EXAMPLES, config.seed)
    model = grown_model(store, checkpoint, vocabulary, few, config.start, config.seed)
    return pretrain(
        store,
        training_config(checkpoint, config),
        out,
        resume=resume,
        device=device,
        start=_start(checkpoint, vocabulary, support, config, model.state_dict()),
        on_progress=on_progress,
    )


def training_config(checkpoint: Checkpoint, config: AdaptConfig) -> TrainConfig:
    """The checkpoint's own configuration with the changes of an adaptation.

    No weight decay: it pulls known weights toward zero. No early stopping with few examples: the
    loss often rises in the first epochs, which are short.
    """
    rate = config.learning_rate
    return dataclasses.replace(
        checkpoint.config,
        epochs=config.epochs,
        learning_rate=LEARNING_RATES[config.train] if rate is None else rate,
        weight_decay=0.0,
        patience=0 if config.examples else checkpoint.config.patience,
        data_share=1.0,
        seed=config.seed,
    )


# -- new names --------------------------------------------------------------------------------


def grown_vocabulary(store: EventStore, checkpoint: Checkpoint) -> Vocabulary:
    """`extended_vocabulary` of a log with new behaviors. Raises ValueError if it has none."""
    vocabulary = extended_vocabulary(store, checkpoint)
    if vocabulary.num_behaviors == checkpoint.vocabulary.num_behaviors:
        raise ValueError(
            f"the training part of {store.path} has no behavior that is new to "
            f"{checkpoint.path}; there is nothing to adapt to"
        )
    return vocabulary


def extended_vocabulary(store: EventStore, checkpoint: Checkpoint) -> Vocabulary:
    """The checkpoint's names, each at its id, then the new ones of the log's training part.

    Raises ValueError if the checkpoint is unfinished, or a known event stands for another
    behavior there.
    """
    if not checkpoint.training.finished:
        raise ValueError(f"{checkpoint.path} is not finished; continue it by `edgebehave train --resume`")
    known = checkpoint.vocabulary
    is_train = part_of_event(store, checkpoint.config.split) == TRAIN
    there = training_vocabulary(store, is_train, checkpoint.config.min_users)
    names: dict[str, list[str]] = {}
    for kind in ("events", "locations", "behaviors"):
        is_known = set(getattr(known, kind))
        names[kind] = [*getattr(known, kind), *(name for name in getattr(there, kind) if name not in is_known)]
    behavior_id = {name: i for i, name in enumerate(names["behaviors"])}
    of_new_event: list[int] = []
    for event, behavior in zip(there.events[1:], there.event_to_behavior[1:], strict=True):
        here = NO_BEHAVIOR if behavior == NO_BEHAVIOR else behavior_id[there.behaviors[behavior]]
        event_id = known.event_id(event)
        if event_id == UNKNOWN:
            of_new_event.append(here)
        elif known.event_to_behavior[event_id] != here:
            raise ValueError(
                f"event {event!r} stands for {_name(known, known.event_to_behavior[event_id])} in "
                f"{checkpoint.path}, but for {_name(there, behavior)} in {store.path}; ingest the "
                "log with the behaviors of the checkpoint"
            )
    return Vocabulary(**names, event_to_behavior=[*known.event_to_behavior, *of_new_event])


def new_behaviors(known: Checkpoint, adapted: Checkpoint) -> list[str]:
    """Names of the behaviors that an adaptation added, most frequent first."""
    return list(adapted.vocabulary.behaviors[known.vocabulary.num_behaviors :])


def examples_by_name(support: Support, vocabulary: Vocabulary) -> dict[str, int]:
    """Number of examples of each new behavior; fewer than k if the log has no more."""
    new = range(support.num_known, vocabulary.num_behaviors)
    return {vocabulary.behaviors[b]: int(support.examples[b]) for b in new}


def _name(vocabulary: Vocabulary, behavior: int) -> str:
    return "no behavior" if behavior == NO_BEHAVIOR else repr(vocabulary.behaviors[behavior])


# -- training ---------------------------------------------------------------------------------


def _start(
    checkpoint: Checkpoint, vocabulary: Vocabulary, support: Support, config: AdaptConfig, state: dict[str, Tensor]
) -> Start:
    num_known = {
        "event.weight": checkpoint.vocabulary.num_events,
        "location.weight": checkpoint.vocabulary.num_locations,
        "query_location.weight": checkpoint.vocabulary.num_locations,
        "head_out.weight": checkpoint.vocabulary.num_behaviors,
        "head_out.bias": checkpoint.vocabulary.num_behaviors,
    }

    def prepare(model: BehaviorModel) -> None:
        model.load_state_dict(state)
        choose_what_trains(model, config, num_known)
        train_at_log_shares(model, support)

    origin: dict[str, Any] = {
        "adapted_from": checkpoint.training.data_fingerprint,
        **dataclasses.asdict(config),
        "num_examples": examples_by_name(support, vocabulary),
    }
    return Start(
        origin=origin,
        vocabulary=vocabulary,
        prepare=prepare,
        kept_state=merged_state,
        is_candidate=True,
        train_ranges=support.ranges,
        is_target=support.is_target,
    )


def choose_what_trains(model: BehaviorModel, config: AdaptConfig, num_known: dict[str, int]) -> None:
    """Freeze the weights that do not train, in place; known rows beside new ones get no gradient.

    num_known  known rows of each parameter that grew.
    """
    if config.train == "all":
        return
    there = {name for name, _ in model.named_parameters()}
    grown = [name for name in num_known if name in there]
    whole = [name for name in there if config.train == "head" and name.startswith(_HEAD)]
    parameters = {name: p for name, p in model.named_parameters() if name in {*grown, *whole}}
    if config.train == "lora":
        targets = (*BLOCK_LAYERS, "head_in")
        inject_lora(model, config.rank, 2.0 * config.rank, targets=targets, trained=grown)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in parameters)
    for name in set(grown) - set(whole):
        _hold_rows(parameters[name], num_known[name])


def _hold_rows(parameter: nn.Parameter, num_rows: int) -> None:
    """Give the first rows no gradient; without weight decay AdamW leaves them equal to the bit."""

    def without_known_rows(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[:num_rows] = 0
        return gradient

    parameter.register_hook(without_known_rows)


def train_at_log_shares(model: BehaviorModel, support: Support) -> None:
    """Add log(r_b / pi_b) to the logits of new behaviors during training; see the top of the file."""
    offset = torch.zeros(len(support.prior))
    for behavior in np.flatnonzero(support.examples):
        r, prior = support.share[behavior], support.prior[behavior]
        if 0 < r < 1 and prior < 1:
            offset[behavior] = math.log(r / (1 - r)) - math.log(prior / (1 - prior))
    offset = offset.to(model.head_out.weight.device)

    def shift(module: nn.Module, _: Any, scores: Tensor) -> Tensor:
        return scores + offset.to(scores.dtype) if module.training else scores

    model.head_out.register_forward_hook(shift)
