"""Transfer of a model to another log that shares none of its names.

Some parts of a behavior model depend on the names of a log (the ends), the others do not:

    time     embeddings of weekday and time slot, of the input and of the query
    blocks   the transformer blocks, and the norm behind them
    hidden   the hidden layer of the MLP head
    gates    of the habit mixture, which read state and evidence
    ends     embeddings of events and locations, final projection: always new

A strategy says which parts are copied, how the blocks train, and how the ends begin:

    scratch      nothing is copied: the baseline of a transfer
    blocks       the blocks alone are copied
    blocks-head  time, blocks, hidden and gates are copied            BehaveGPT (arXiv 2505.17631)
    lora         the same; blocks frozen, with low-rank adapters      Hu et al. 2021
    ofa          the same; attention and MLP frozen, norms trained    One Fits All, Zhou et al. 2023
    drawn-ends   as blocks-head; new rows look like the old ones      ours, see `draw_ends`

All that is not frozen trains, by the same recipe for every strategy.
"""

# E events, N behaviors with events, D width of the rows of an embedding, W width of the head

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.files import file_digest
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.model.lora import BLOCK_LAYERS, inject_lora, merged_state
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.objectives import ObjectiveConfig
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.progress import Progress
from edgebehave_train.training.recipes import TrainConfig
from edgebehave_train.training.training_run import Start

PARTS = {
    "time": ("weekday.", "slot.", "query_weekday.", "query_slot."),
    "blocks": ("blocks.", "norm."),
    "hidden": ("head_in.",),
    "gates": ("gate_in.", "gate_out.", "log_shrinkage", "learned_kernel."),
}
"""Parts that do not depend on names, as prefixes of parameters."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """The parts of a model that are copied, and the way the others begin and train.

    copied      names of PARTS.
    blocks      "trained", "adapted" (frozen, with adapters) or "norms" (all but the norms frozen).
    drawn_ends  the ends begin as rows like those of the source, not as noise.
    """

    copied: tuple[str, ...]
    blocks: Literal["trained", "adapted", "norms"] = "trained"
    drawn_ends: bool = False


STRATEGIES = {
    "scratch": Strategy(copied=()),
    "blocks": Strategy(copied=("blocks",)),
    "blocks-head": Strategy(copied=tuple(PARTS)),
    "lora": Strategy(copied=tuple(PARTS), blocks="adapted"),
    "ofa": Strategy(copied=tuple(PARTS), blocks="norms"),
    "drawn-ends": Strategy(copied=tuple(PARTS), drawn_ends=True),
}


_RIDGE = 0.01  # of the mean variance of the rows


def transfer(
    checkpoint: Checkpoint,
    store: EventStore,
    config: TrainConfig,
    out: Path,
    strategy: str,
    *,
    resume: bool = False,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Train a new checkpoint on the log of a store, with parts of a checkpoint of another log.

    config  of the run, from `transfer_config`; its shape is that of the checkpoint.
    resume  continue the run in `out`, with the same arguments.
    Raises ValueError for an unfinished checkpoint, another shape in the config, or an unknown
    strategy, and as `pretrain` does.
    """
    start = transferred_start(checkpoint, store, config, strategy)
    for name in ("width", "num_layers", "num_heads", "window", "query_context"):
        has, wanted = getattr(checkpoint.config, name), getattr(config, name)
        if has != wanted:
            raise ValueError(
                f"{name} is {has!r} in {checkpoint.path} and cannot become {wanted!r}; "
                "leave it as it is, or pretrain a model of that shape"
            )
    return pretrain(store, config, out, resume=resume, device=device, start=start, on_progress=on_progress)


def transfer_config(source: TrainConfig, share: float = 1.0, **changes: Any) -> TrainConfig:
    """The recipe of a transfer run, the same for every strategy.

    Shape, regularization and habits are those of the source. A small share is soon overfitted, so
    its steps are small: the batch shrinks with the square root of the share, the learning rate with
    the square root of the batch. Validation chooses the epoch and ends the run.

    share    of the training events of the target, in (0, 1].
    changes  other fields of TrainConfig.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    rows = max(1, round(share**0.5 * source.batch_events / source.row_events))
    batch_events = rows * source.row_events
    recipe: dict[str, Any] = {
        "data_share": share,
        "batch_events": batch_events,
        "learning_rate": source.learning_rate * (batch_events / source.batch_events) ** 0.5,
        "epochs": 25,
        "patience": 3,
        "objective": ObjectiveConfig(),
        "split": SplitConfig(),
        **changes,
    }
    return replace(source, **recipe)


def transferred_start(checkpoint: Checkpoint, store: EventStore, config: TrainConfig, strategy: str) -> Start:
    """The start of a run on another log. Raises ValueError as `transfer` does."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if not checkpoint.training.finished:
        raise ValueError(f"{checkpoint.path} is not finished; continue it with the command that began it and --resume")
    chosen = STRATEGIES[strategy]
    source = checkpoint.load_model()
    vocabulary = training_vocabulary(store, part_of_event(store, config.split) == TRAIN, config.min_users)

    def prepare(model: BehaviorModel) -> None:
        _copy_parts(source, model, chosen.copied)
        if chosen.drawn_ends:
            draw_ends(source, checkpoint.vocabulary, model, vocabulary)
        if chosen.blocks == "adapted":
            names = [name for name, _ in model.named_parameters()]
            inject_lora(model, trained=[name for name in names if not name.startswith("blocks.")])
        elif chosen.blocks == "norms":
            for block in model.blocks:
                for layer in BLOCK_LAYERS:
                    block.get_submodule(layer).requires_grad_(False)

    origin = {
        "strategy": strategy,
        "weights_sha256": file_digest(checkpoint.path / "model.safetensors"),
        "data_fingerprint": checkpoint.training.data_fingerprint,
    }
    return Start(origin=origin, vocabulary=vocabulary, prepare=prepare, kept_state=merged_state)


def _copy_parts(source: BehaviorModel, model: BehaviorModel, parts: Sequence[str]) -> None:
    """Copy the parameters of some parts; gates only where both models have them."""
    prefixes = tuple(prefix for part in parts for prefix in PARTS[part])
    own, theirs = model.state_dict(), source.state_dict()
    names = [name for name in own if prefixes and name.startswith(prefixes) and name in theirs]
    model.load_state_dict({**own, **{name: theirs[name] for name in names}})


@torch.no_grad()
def draw_ends(
    source: BehaviorModel, source_vocabulary: Vocabulary, model: BehaviorModel, vocabulary: Vocabulary
) -> None:
    """Begin the ends of a model with rows like those that its copied blocks were trained with, in place.

    A block that predicts a repetition reads an event's row and writes a vector close to that
    behavior's row of the projection. Rows of noise break both. So the row of a new event is drawn
    from a normal with mean and covariance of the source's rows, and the row of a new behavior
    follows from the rows of its events as in the source:

        e ~ N(mean, cov of the source's rows)            y = mean y + A (x - mean x)

    with x the mean row of a behavior's events, y its row of the projection, and A fitted by ridge
    regression over the source's behaviors. Locations are drawn like events. Row 0, unknown or none,
    means the same in every log and is copied.
    """
    for name in ("event", "location", "query_location"):
        if hasattr(model, name):
            rows, theirs = getattr(model, name).weight, getattr(source, name).weight
            if len(theirs) > 2:  # a covariance takes two rows beside the unknown
                rows[1:] = _rows_like(theirs[1:], len(rows) - 1)
            rows[0] = theirs[0]
    x_ND, known = _rows_of_behaviors(source.event.weight, source_vocabulary)
    y_NW = source.head_out.weight[known]
    x_mean, y_mean = x_ND.mean(0), y_NW.mean(0)
    gram_DD = (x_ND - x_mean).T @ (x_ND - x_mean)
    ridge_DD = _RIDGE * gram_DD.diagonal().mean() * torch.eye(len(gram_DD))
    map_DW = torch.linalg.solve(gram_DD + ridge_DD, (x_ND - x_mean).T @ (y_NW - y_mean))
    x_ND, known = _rows_of_behaviors(model.event.weight.cpu(), vocabulary)
    device = model.head_out.weight.device
    y_NW = y_mean + (x_ND - x_mean) @ map_DW
    model.head_out.weight[known.to(device)] = y_NW.to(device)
    model.head_out.bias.zero_()


def _rows_like(rows_ED: Tensor, num_rows: int) -> Tensor:
    """Draws from the normal that has the mean and the covariance of some rows, (num_rows, D)."""
    variance_D, axis_DD = torch.linalg.eigh(torch.cov(rows_ED.T))
    spread_DD = variance_D.clamp_min(0).sqrt()[:, None] * axis_DD.T
    return rows_ED.mean(0) + torch.randn(num_rows, rows_ED.shape[1]) @ spread_DD


def _rows_of_behaviors(event_ED: Tensor, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Mean row of the events of each behavior that has events, (N, D), and its id, (N,)."""
    behavior_E = torch.tensor(vocabulary.event_to_behavior)
    known = torch.unique(behavior_E[behavior_E > 0])
    is_of_NE = (behavior_E == known[:, None]).to(event_ED.dtype)
    return is_of_NE @ event_ED / is_of_NE.sum(1, keepdim=True), known
