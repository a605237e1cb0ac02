"""Few-shot adaptation: behaviors that pretraining never saw get rows of their own.

The vocabulary grows at its end, so every known id keeps its place. A new behavior needs a row in
the event embedding and one in the prediction layer; everything else is there. Three starts:

    noise         as a fresh layer
    cooccurrence  the mean of the rows of what stands near it in the examples
    prototype     embedding as above; prediction row in closed form, from features f of the head:

        w_b = sum_v p_v w_v + s_b S^-1 (mu_b - mu)          bias: mean of p_b over the log = pi_b

mu_b is the mean feature of the k examples, mu and S mean and (ridged) covariance of the log. The
second term is the direction of the log-odds of b against everything else under equal covariances
(linear discriminant analysis); the first, with the mean p_v of the known behaviors over the log,
turns log-odds into a logit beside the known ones: it is the slope of their log-sum-exp. The scale
s_b is what makes the examples likeliest when each is scored without itself, so what few examples
cannot tell from chance counts little.

The examples over- or underrepresent a new behavior. Training adds log(r_b / pi_b) to its logits,
r_b its share of the training targets, so that what is learned is p(b) at the log's own shares
(logit adjustment, Menon et al. 2021). Known behaviors are replayed: a random sample of the log
trains beside the examples, and is what the bias is set on.
"""

# N events, S ranges, M positions with a target, F features of the head, V behaviors

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, Vocabulary
from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.event_store import EventStore
from edgebehave_train.lora import BLOCK_LAYERS, inject_lora, merged_state
from edgebehave_train.mapped_log import MappedLog, behavior_counts, map_log, training_vocabulary
from edgebehave_train.model import BehaviorModel
from edgebehave_train.packing import share_of_ranges
from edgebehave_train.pretraining import Progress, Start, pretrain
from edgebehave_train.recipes import TrainConfig
from edgebehave_train.scoring import hidden_states
from edgebehave_train.split import TRAIN, part_bounds, part_of_event

Trained = Literal["all", "head", "lora", "new-rows"]
RowStart = Literal["prototype", "cooccurrence", "noise"]

TRAINED: tuple[Trained, ...] = ("all", "head", "lora", "new-rows")
ROW_STARTS: tuple[RowStart, ...] = ("prototype", "cooccurrence", "noise")

_REPLAY_EVENTS = 6000
"""Events of the training part that are replayed beside the examples, at least."""
_NEAR_EVENTS = 5
"""Events before an occurrence that count as near it."""
_FOLDS = 5
"""Parts of the examples, each scored by the others."""
_RIDGE = 0.1
"""Share of the mean variance that is added to every direction of the feature covariance."""
_HEAD = ("head_in", "head_out")


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """How a checkpoint takes up new behaviors.

    train      what trains: "all"; "head": the MLP head; "lora": low-rank adapters in the blocks
               and the head; "new-rows": nothing that was there before, to the bit. New rows
               always train.
    start      what new rows begin with.
    examples   k, examples of each new behavior; 0 = all of the training part.
    epochs     passes over the examples, at most.
    learning_rate  peak; None = what validation chose for `train`.
    rank       of the adapters.
    seed       of the choice of examples and of everything else random.
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


LEARNING_RATES: dict[Trained, float] = {"all": 3e-4, "head": 3e-4, "lora": 1e-3, "new-rows": 3e-3}


@dataclass(frozen=True, kw_only=True)
class Support:
    """What an adaptation trains on.

    ranges     (S, 2) positions in the store: histories of the examples, and the replay.
    is_target  (N,) bool: the examples, and the known targets of the replay.
    examples   (V,) int64, examples of each new behavior; 0 for the known ones.
    num_new    new behaviors; they are the last of the V.
    prior      (V,) float64, share of each behavior in the training part.
    share      (V,) float64, its share of the training targets.
    """

    ranges: npt.NDArray[np.int64]
    is_target: npt.NDArray[np.bool_]
    examples: npt.NDArray[np.int64]
    num_new: int
    prior: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]


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

    store       the log; its parts are those of the checkpoint's split, and the loss on its
                validation part chooses the epoch. Epoch 0, the start itself, is among them.
    out         folder of the new checkpoint, which belongs to this log.
    resume      go on with a run that was killed; everything else as it was.
    Raises ValueError if the checkpoint is unfinished, the log has no new behavior, or gives a
    known event another meaning.
    """
    vocabulary = grown_vocabulary(store, checkpoint)
    support = choose_support(store, checkpoint, vocabulary, config.examples, config.seed)
    train_config = training_config(checkpoint, config)
    model = grown_model(store, checkpoint, vocabulary, support, config)
    return pretrain(
        store,
        train_config,
        out,
        resume=resume,
        device=device,
        start=_start(checkpoint, vocabulary, support, config, model.state_dict()),
        on_progress=on_progress,
    )


def from_scratch(
    store: EventStore,
    checkpoint: Checkpoint,
    out: Path,
    config: AdaptConfig,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """The control of `adapt`: a model of the same shape that learns from the same examples and the
    same replay, by the checkpoint's own recipe, and knows nothing else."""
    vocabulary = grown_vocabulary(store, checkpoint)
    support = choose_support(store, checkpoint, vocabulary, config.examples, config.seed)
    start = Start(
        origin={
            "scratch": True,
            "examples": config.examples,
            "seed": config.seed,
            "num_examples": _examples_by_name(support, vocabulary),
        },
        vocabulary=vocabulary,
        prepare=lambda model: train_at_log_shares(model, support),
        train_ranges=support.ranges,
        is_target=support.is_target,
    )
    train_config = dataclasses.replace(checkpoint.config, epochs=config.epochs, seed=config.seed)
    return pretrain(store, train_config, out, resume=resume, start=start, on_progress=on_progress)


def training_config(checkpoint: Checkpoint, config: AdaptConfig) -> TrainConfig:
    """The checkpoint's own configuration, but for what an adaptation does otherwise.

    No weight decay: it pulls toward zero, away from what pretraining learned. No patience with
    few examples: their first epochs often lose before they gain, and are soon over.
    """
    rate = config.learning_rate or LEARNING_RATES[config.train]
    return dataclasses.replace(
        checkpoint.config,
        epochs=config.epochs,
        learning_rate=rate,
        weight_decay=0.0,
        patience=0 if config.examples else checkpoint.config.patience,
        data_share=1.0,
        seed=config.seed,
    )


# -- what is new ------------------------------------------------------------------------------


def grown_vocabulary(store: EventStore, checkpoint: Checkpoint) -> Vocabulary:
    """The checkpoint's names, each at its id, then the new ones of the log's training part.

    Raises ValueError if the checkpoint is unfinished, the log has no new behavior, or a known
    event stands for another behavior there.
    """
    if not checkpoint.training["finished"]:
        raise ValueError(
            f"{checkpoint.path} is not finished; go on with it by `edgebehave train --resume`"
        )
    known = checkpoint.vocabulary
    there = training_vocabulary(store, part_of_event(store, checkpoint.config.split) == TRAIN)
    names: dict[str, list[str]] = {}
    for kind in ("events", "locations", "behaviors"):
        is_known = set(getattr(known, kind))
        names[kind] = [
            *getattr(known, kind),
            *(n for n in getattr(there, kind) if n not in is_known),
        ]
    if len(names["behaviors"]) == known.num_behaviors:
        raise ValueError(
            f"the training part of {store.path} has no behavior that is new to "
            f"{checkpoint.path}; there is nothing to adapt to"
        )
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


def _examples_by_name(support: Support, vocabulary: Vocabulary) -> dict[str, int]:
    """How many examples each new behavior had; fewer than asked for if there are no more."""
    num_known = len(support.examples) - support.num_new
    return {
        vocabulary.behaviors[b]: int(support.examples[b])
        for b in range(num_known, len(support.examples))
    }


def _name(vocabulary: Vocabulary, behavior: int) -> str:
    return "no behavior" if behavior == NO_BEHAVIOR else repr(vocabulary.behaviors[behavior])


def choose_support(
    store: EventStore, checkpoint: Checkpoint, vocabulary: Vocabulary, examples: int, seed: int
) -> Support:
    """k examples of each new behavior, seeded, and a replay of known ones; or the training part.

    An example is a target and the `window` events before it. The replay is a random sample of the
    training part, as large as the histories of the examples but at least `_REPLAY_EVENTS`, whose
    known behaviors are targets. Other occurrences of new behaviors are inputs, never targets, so
    that k counts.
    """
    num_known, num_behaviors = checkpoint.vocabulary.num_behaviors, vocabulary.num_behaviors
    is_train = part_of_event(store, checkpoint.config.split) == TRAIN
    bounds = part_bounds(store, checkpoint.config.split)
    log = map_log(store, vocabulary)
    first_of_user = np.repeat(bounds[:, 0], np.diff(store.user_start))
    rng = np.random.default_rng(seed)
    part = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
    chosen = []
    for behavior in range(num_known, num_behaviors):
        # The first event of a user has no history.
        is_it = (log.target == behavior) & is_train
        found = np.flatnonzero(is_it & (np.arange(store.num_events) > first_of_user))
        chosen.append(np.sort(rng.permutation(found)[:examples]) if examples else found)
    if not examples:
        ranges, is_target = part, is_train
    else:
        example = np.unique(np.concatenate(chosen))
        start = np.maximum(example - checkpoint.model_config.window, first_of_user[example])
        histories = _union(np.stack([start, example], 1))
        num_replayed = max(_REPLAY_EVENTS, int((histories[:, 1] - histories[:, 0]).sum()))
        share = num_replayed / max(1, int((part[:, 1] - part[:, 0]).clip(0).sum()))
        replay = share_of_ranges(part, min(share, 1.0), seed)
        ranges = _union(np.concatenate([histories, replay]))
        _, replayed = _positions_with_target(log, replay, is_train & (log.target < num_known))
        is_target = np.zeros(store.num_events, bool)
        is_target[replayed] = is_target[example] = True
    count = behavior_counts(store, is_train, vocabulary)
    where, following = _positions_with_target(log, ranges, is_target)
    shown = np.bincount(log.target[following], minlength=num_behaviors)
    num_examples = np.zeros(num_behaviors, np.int64)
    num_examples[num_known:] = [len(found) for found in chosen]
    return Support(
        ranges=ranges,
        is_target=is_target,
        examples=num_examples,
        num_new=num_behaviors - num_known,
        prior=count / count.sum(),
        share=shown / max(1, len(where)),
    )


def _union(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same positions in ranges that do not overlap, ascending.

    ranges  (S, 2), each inside one user; ranges that only touch stay apart, as they may belong to
            two users.
    """
    joined: list[list[int]] = []
    ranges = ranges[ranges[:, 1] > ranges[:, 0]]
    for start, stop in ranges[np.argsort(ranges[:, 1], kind="stable")].tolist():
        while joined and joined[-1][1] > start:
            start = min(start, joined.pop()[0])
        joined.append([start, stop])
    return np.array(joined, np.int64).reshape(-1, 2)


def _positions_with_target(
    log: MappedLog, ranges: npt.NDArray[np.int64], is_target: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the ranges from which something is predicted, and that, both (M,)."""
    is_inside = np.zeros(len(log.event) + 1, np.int64)
    np.add.at(is_inside, ranges[:, 0], 1)
    np.add.at(is_inside, np.maximum(ranges[:, 0], ranges[:, 1]), -1)
    where = np.flatnonzero((is_inside.cumsum()[:-1] > 0) & (log.next_behavior >= 0))
    following = log.next_behavior[where]
    taken = is_target[following] & (log.target[following] > 0)
    return where[taken], following[taken]


# -- the grown model --------------------------------------------------------------------------


@torch.no_grad()
def grown_model(
    store: EventStore,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    support: Support,
    config: AdaptConfig,
) -> BehaviorModel:
    """The checkpoint's model with rows for the names that are new in a vocabulary."""
    known = checkpoint.load_model()
    torch.manual_seed(config.seed)
    model = BehaviorModel(
        dataclasses.replace(
            checkpoint.model_config,
            num_events=vocabulary.num_events,
            num_locations=vocabulary.num_locations,
            num_behaviors=vocabulary.num_behaviors,
        )
    ).eval()
    parameters = dict(model.named_parameters())
    for name, value in known.named_parameters():
        parameters[name][: len(value)] = value
    if config.start == "noise":
        return model
    log = map_log(store, vocabulary)
    _average_neighbors(
        model.event.weight, checkpoint.vocabulary.num_events, log.event, log, support.ranges
    )
    num_locations = checkpoint.vocabulary.num_locations
    near = (log.location, log, support.ranges)
    _average_neighbors(model.location.weight, num_locations, *near)
    if hasattr(model, "query_location"):
        _average_neighbors(model.query_location.weight, num_locations, *near)
    _set_prediction_rows(model, log, support, checkpoint.vocabulary.num_behaviors, config.start)
    return model


def _average_neighbors(
    weight: Tensor,
    num_known: int,
    ids: npt.NDArray[np.int32],
    log: MappedLog,
    ranges: npt.NDArray[np.int64],
) -> None:
    """New rows become the mean of the known rows that stand just before them, in place.

    weight  (rows, width), of which the first num_known are known.
    ids     (N,) row of each event of the log.
    A row without a known neighbor becomes the mean of all known rows.
    """
    mean = weight[1:num_known].mean(0)
    total = torch.zeros_like(weight)
    count = torch.zeros(len(weight))
    # The examples themselves stand just behind their histories.
    inside = [np.arange(start, stop + 1) for start, stop in ranges.tolist() if stop > start]
    position = np.unique(np.concatenate(inside)) if inside else np.zeros(0, np.int64)
    position = position[ids[position] >= num_known]
    user = log.user_of_event()
    for back in range(1, _NEAR_EVENTS + 1):
        before = np.maximum(position - back, 0)
        near = (position >= back) & (user[before] == user[position])
        near &= (ids[before] > UNKNOWN) & (ids[before] < num_known)
        row = torch.from_numpy(ids[position[near]].astype(np.int64))
        neighbor = torch.from_numpy(ids[before[near]].astype(np.int64))
        total.index_add_(0, row, weight[neighbor])
        count.index_add_(0, row, torch.ones(len(row)))
    average = torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], mean)
    weight[num_known:] = average[num_known:]


def _set_prediction_rows(
    model: BehaviorModel,
    log: MappedLog,
    support: Support,
    num_known: int,
    start: RowStart,
) -> None:
    """Rows and biases of the new behaviors in the prediction layer, in place."""
    feature_MF, target_M = _head_features(model, log, support)
    weight, bias = model.head_out.weight, model.head_out.bias
    new = [b for b in range(num_known, len(weight)) if (target_M == b).any()]
    if not (target_M < num_known).any() or not new:
        return
    sample_M = _weights_at_log_shares(target_M, support, num_known)
    if start == "prototype":
        rows = prototype_rows(feature_MF, target_M, sample_M, weight[:num_known], bias, new)
    else:
        rows = _rows_of_neighbors(weight, log, support, num_known, new)
    weight[new] = rows
    prior = torch.from_numpy(support.prior).float()
    calibrate_biases(weight, bias, feature_MF, sample_M, prior, new)


def _head_features(model: BehaviorModel, log: MappedLog, support: Support) -> tuple[Tensor, Tensor]:
    """Inputs of the prediction layer at every training target, (M, F), and the targets, (M,)."""
    where, following = _positions_with_target(log, support.ranges, support.is_target)
    next_of = np.full(len(log.event), -1, np.int64)
    next_of[where] = following
    features, targets = [], []
    for positions, hidden in hidden_states(model, log, support.ranges):
        taken = np.flatnonzero(next_of[positions] >= 0)
        event = next_of[positions[taken]]
        z = model.query(
            hidden[torch.from_numpy(taken)],
            torch.from_numpy(log.weekday[event].astype(np.int64)),
            torch.from_numpy(log.slot[event].astype(np.int64)),
            torch.from_numpy(log.location[event].astype(np.int64)),
        )
        features.append(F.gelu(model.head_in(z)))
        targets.append(torch.from_numpy(log.target[event].astype(np.int64)))
    return torch.cat(features), torch.cat(targets)


def _weights_at_log_shares(target_M: Tensor, support: Support, num_known: int) -> Tensor:
    """Weight of each training target, (M,), sums to 1: a new behavior weighs its share of the
    log, the known ones what is left."""
    count_V = torch.bincount(target_M, minlength=len(support.prior)).float()
    prior_V = torch.from_numpy(support.prior).float()
    count_V[:num_known] = count_V[:num_known].sum()
    prior_V[:num_known] = prior_V[:num_known].sum()
    weight_M = (prior_V / count_V.clamp_min(1))[target_M]
    return weight_M / weight_M.sum()


def prototype_rows(
    feature_MF: Tensor,
    target_M: Tensor,
    sample_M: Tensor,
    known_weight_VF: Tensor,
    bias_V: Tensor,
    new: Sequence[int],
) -> Tensor:
    """Prediction rows of new behaviors in closed form, (len(new), F); see the top of the file.

    feature_MF       head features at positions of known and new targets.
    target_M         behavior ids.
    sample_M         how much each position stands for, sums to 1.
    known_weight_VF  prediction rows of the known behaviors; bias_V their biases (and more).
    new              ids of the new behaviors, each with at least one position.
    """
    mean_F = sample_M @ feature_MF
    centered_MF = feature_MF - mean_F
    weighted_MF = centered_MF * sample_M[:, None]
    covariance_FF = centered_MF.T @ weighted_MF
    ridge = _RIDGE * covariance_FF.diagonal().mean().clamp_min(1e-12)
    ridged_FF = covariance_FF + ridge * torch.eye(len(covariance_FF))
    logits_MV = feature_MF @ known_weight_VF.T + bias_V[: len(known_weight_VF)]
    logits_MV[:, UNKNOWN] = -1e4
    common_F = (sample_M @ logits_MV.softmax(1)) @ known_weight_VF

    def solve(vector_F: Tensor) -> Tensor:
        return torch.cholesky_solve(vector_F[:, None], factor_FF)[:, 0]

    factor_FF = torch.linalg.cholesky(ridged_FF)
    direction_BF, held_out_MB = [], []
    for behavior in new:
        inside = (target_M == behavior).nonzero()[:, 0]
        direction_BF.append(solve(centered_MF[inside].mean(0)))
        score_M = centered_MF @ direction_BF[-1]
        # Positions stand in log order, so that a fold holds few users.
        num_folds = min(_FOLDS, len(inside))
        fold = torch.arange(len(inside)) * num_folds // len(inside)
        for one in range(num_folds):
            mine, others = inside[fold == one], inside[fold != one]
            # The only example says nothing about its like.
            if len(others):
                score_M[mine] = centered_MF[mine] @ solve(centered_MF[others].mean(0))
            else:
                score_M[mine] = 0
        held_out_MB.append(score_M)
    column_M = target_M.clone()
    for i, behavior in enumerate(new):
        column_M[target_M == behavior] = logits_MV.shape[1] + i
    common_M1 = (feature_MF @ common_F)[:, None]
    scale_B = _fit_scales(logits_MV, common_M1, torch.stack(held_out_MB, 1), column_M, sample_M)
    return common_F + scale_B[:, None] * torch.stack(direction_BF)


@torch.enable_grad()
def _fit_scales(
    known_MV: Tensor, common_M1: Tensor, score_MB: Tensor, column_M: Tensor, sample_M: Tensor
) -> Tensor:
    """How far the scores of new behaviors reach, (B,) in [0, 1]: with one bias each, the most
    likely under the logits [known ; common + scale score + bias]  (Platt 1999).

    score_MB  scores that the example at their own position had no part in.
    column_M  target of each position among these logits.
    """
    num_new = score_MB.shape[1]
    scale_B = torch.full((num_new,), 0.5, requires_grad=True)
    bias_B = torch.full((num_new,), -5.0, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale_B, bias_B], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        new_MB = common_M1 + scale_B * score_MB + bias_B
        nll_M = F.cross_entropy(torch.cat([known_MV, new_MB], 1), column_M, reduction="none")
        value = sample_M @ nll_M
        value.backward()
        return value

    optimizer.step(loss)
    return scale_B.detach().clamp(0, 1)


def _rows_of_neighbors(
    weight_VF: Tensor, log: MappedLog, support: Support, num_known: int, new: Sequence[int]
) -> Tensor:
    """For each new behavior the mean prediction row of the known ones just before it."""
    rows = weight_VF.clone()
    stand_in = np.where(log.target > UNKNOWN, log.target, UNKNOWN).astype(np.int32)
    _average_neighbors(rows, num_known, stand_in, log, support.ranges)
    return rows[list(new)]


def calibrate_biases(
    weight_VF: Tensor,
    bias_V: Tensor,
    feature_MF: Tensor,
    sample_M: Tensor,
    prior_V: Tensor,
    new: Sequence[int],
    num_rounds: int = 200,
) -> None:
    """Biases of new behaviors, in place, for which the mean of p(b) is the prior of b.

    Each round moves every bias by log(prior / mean p), which settles where they agree.
    """
    never_V = torch.zeros_like(bias_V)
    never_V[UNKNOWN] = -1e4
    ids = torch.tensor(list(new))
    scores_MV = feature_MF @ weight_VF.T + never_V
    # A new behavior without a single position keeps out of the way.
    start = scores_MV.logsumexp(1).mean() - scores_MV[:, ids].mean(0) + prior_V[ids].log()
    bias_V[ids] = start
    for _ in range(num_rounds):
        mean_V = sample_M @ (scores_MV + bias_V).softmax(1)
        bias_V[ids] += (prior_V[ids] / mean_V[ids].clamp_min(1e-12)).log()


# -- what trains ------------------------------------------------------------------------------


def _start(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    support: Support,
    config: AdaptConfig,
    state: dict[str, Tensor],
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
        "adapted_from": checkpoint.training["data_fingerprint"],
        **dataclasses.asdict(config),
        "num_examples": _examples_by_name(support, vocabulary),
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


def choose_what_trains(
    model: BehaviorModel, config: AdaptConfig, num_known: dict[str, int]
) -> None:
    """Freeze what does not train, in place; frozen rows beside new ones get no gradient.

    num_known  rows that were there before, of each parameter that grew.
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
    """The first rows get no gradient; without weight decay, AdamW leaves them to the bit."""

    def without_known_rows(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[:num_rows] = 0
        return gradient

    parameter.register_hook(without_known_rows)


def train_at_log_shares(model: BehaviorModel, support: Support) -> None:
    """While training, add log(r_b / pi_b) to the logits of new behaviors; see the top."""
    offset = torch.zeros(len(support.prior))
    for behavior in np.flatnonzero(support.examples):
        r, prior = support.share[behavior], support.prior[behavior]
        offset[behavior] = math.log(r / (1 - r)) - math.log(prior / (1 - prior))
    offset = offset.to(model.head_out.weight.device)

    def shift(module: nn.Module, _: Any, scores: Tensor) -> Tensor:
        return scores + offset.to(scores.dtype) if module.training else scores

    model.head_out.register_forward_hook(shift)
