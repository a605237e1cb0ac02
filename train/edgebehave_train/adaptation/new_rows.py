"""Initial rows of new behaviors in the event embedding and the prediction layer, from a few examples.

Three starts:

    noise         as in a new layer
    cooccurrence  the mean of the rows of the names just before it in the log
    prototype     embedding as above; prediction row in closed form, from features f of the head:

        w_b = sum_v p_v w_v + s_b S^-1 (mu_b - mu)          bias: mean of p_b over the log = pi_b

mu_b is the mean feature of the k examples, mu and S mean and (ridged) covariance of the log. The
second term is the direction of the log-odds of b against everything else under equal covariances
(linear discriminant analysis); the first, with the mean p_v of the known behaviors over the log,
turns log-odds into a logit beside the known ones: it is the slope of their log-sum-exp. The scale s_b
maximizes the likelihood of the examples, each scored by a direction that was made without it, so
directions from few examples count little.
"""

# N events, M positions with a target, F features of the head, V behaviors, B new behaviors

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.adaptation.support_set import Support, positions_with_target
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, map_log
from edgebehave_train.metrics.scoring import hidden_states
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint

RowStart = Literal["prototype", "cooccurrence", "noise"]
ROW_STARTS: tuple[RowStart, ...] = ("prototype", "cooccurrence", "noise")

_NEAR_EVENTS = 5
"""Events before an occurrence that are averaged."""
_FOLDS = 5
"""Folds of the examples; each is scored by a direction made from the others."""
_RIDGE = 0.1
"""Share of the mean variance that is added to every direction of the feature covariance."""
_SETTLED = 1e-4
"""Change of a bias below which the rounds end."""
_NUM_ROUNDS = 200
"""Rounds at most."""


@torch.no_grad()
def grown_model(
    store: EventStore, checkpoint: Checkpoint, vocabulary: Vocabulary, support: Support, start: RowStart, seed: int
) -> BehaviorModel:
    """The checkpoint's model with rows for the names that are new in a vocabulary.

    start  initial values of the new rows; seed of the noise.
    """
    known = checkpoint.load_model()
    torch.manual_seed(seed)
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
    if start == "noise":
        return model
    log = map_log(store, vocabulary)
    _average_neighbors(model.event.weight, checkpoint.vocabulary.num_events, log.event, log, support.ranges)
    num_locations = checkpoint.vocabulary.num_locations
    near = (log.location, log, support.ranges)
    _average_neighbors(model.location.weight, num_locations, *near)
    if hasattr(model, "query_location"):
        _average_neighbors(model.query_location.weight, num_locations, *near)
    _set_prediction_rows(model, log, support, start)
    return model


def _average_neighbors(
    weight: Tensor, num_known: int, ids: npt.NDArray[np.int32], log: MappedLog, ranges: npt.NDArray[np.int64]
) -> None:
    """New rows become the mean of the known rows that stand just before them, in place.

    weight  (rows, width), of which the first num_known are known.
    ids     (N,) row of each event of the log.
    A row without a known neighbor becomes the mean of all known rows.
    """
    mean = weight[1:num_known].mean(0)
    total = torch.zeros_like(weight)
    count = torch.zeros(len(weight))
    # Each example follows its history.
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


def _set_prediction_rows(model: BehaviorModel, log: MappedLog, support: Support, start: RowStart) -> None:
    """Rows and biases of the new behaviors in the prediction layer, in place."""
    num_known = support.num_known
    feature_MF, target_M = head_features(model, log, support.ranges, support.is_target)
    weight, bias = model.head_out.weight, model.head_out.bias
    new = [b for b in range(num_known, len(weight)) if (target_M == b).any()]
    if not (target_M < num_known).any() or not new:
        return
    sample_M = _weights_at_log_shares(target_M, support)
    if start == "prototype":
        weight[new] = prototype_rows(feature_MF, target_M, sample_M, weight[:num_known], bias, new)
    else:  # the mean row of the known behaviors just before each
        behavior = np.where(log.target > UNKNOWN, log.target, UNKNOWN).astype(np.int32)
        rows = weight.clone()
        _average_neighbors(rows, num_known, behavior, log, support.ranges)
        weight[new] = rows[new]
    prior = torch.from_numpy(support.prior).float()
    calibrate_biases(weight, bias, feature_MF, sample_M, prior, new)


@torch.no_grad()
def set_prediction_rows(
    model: BehaviorModel, store: EventStore, vocabulary: Vocabulary, support: Support, rows: Tensor
) -> None:
    """Set rows of the new behaviors in the prediction layer, in place, and biases that make the mean of p(b)
    the prior of b.

    rows  (B, F), one for each new behavior, in the order of the vocabulary.
    """
    weight, bias = model.head_out.weight, model.head_out.bias
    weight[support.num_known :] = rows
    log = map_log(store, vocabulary)
    feature_MF, target_M = head_features(model, log, support.ranges, support.is_target)
    if not (target_M < support.num_known).any():
        return
    sample_M = _weights_at_log_shares(target_M, support)
    # A behavior that the support set lacks gets the prior of one event.
    least = 1 / max(1, store.num_events)
    prior = torch.from_numpy(np.maximum(support.prior, least)).float()
    new = range(support.num_known, len(weight))
    calibrate_biases(weight, bias, feature_MF, sample_M, prior, new)


def head_features(
    model: BehaviorModel, log: MappedLog, ranges: npt.NDArray[np.int64], is_target: npt.NDArray[np.bool_]
) -> tuple[Tensor, Tensor]:
    """Inputs of the prediction layer at every target of the ranges, (M, F), and the targets, (M,).

    The M are in the order of `positions_with_target`.
    """
    where, following = positions_with_target(log, ranges, is_target)
    next_of = np.full(len(log.event), -1, np.int64)
    next_of[where] = following
    features, targets = [], []
    for positions, hidden in hidden_states(model, log, ranges):
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


def _weights_at_log_shares(target_M: Tensor, support: Support) -> Tensor:
    """Weight of each training target, (M,), sums to 1: each new behavior has the weight of its share of
    the log, all known ones together the rest."""
    num_known = support.num_known
    count_V = torch.bincount(target_M, minlength=len(support.prior)).float()
    prior_V = torch.from_numpy(support.prior).float()
    count_V[:num_known] = count_V[:num_known].sum()
    prior_V[:num_known] = prior_V[:num_known].sum()
    weight_M = (prior_V / count_V.clamp_min(1))[target_M]
    return weight_M / weight_M.sum()


def prototype_rows(
    feature_MF: Tensor, target_M: Tensor, sample_M: Tensor, known_weight_VF: Tensor, bias_V: Tensor, new: Sequence[int]
) -> Tensor:
    """Prediction rows of new behaviors in closed form, (len(new), F); see the top of the file.

    feature_MF       head features at positions of known and new targets.
    target_M         behavior ids.
    sample_M         weight of each position, sums to 1.
    known_weight_VF  prediction rows of the known behaviors; bias_V biases of these and the new ones.
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
            # A lone example cannot be scored by others.
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
def _fit_scales(known_MV: Tensor, common_M1: Tensor, score_MB: Tensor, column_M: Tensor, sample_M: Tensor) -> Tensor:
    """Scales of the scores of new behaviors, (B,) in [0, 1]: with one bias each, those of the highest
    likelihood under the logits [known ; common + scale score + bias]  (Platt 1999).

    score_MB  scores by directions that were made without the example at the position.
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


def calibrate_biases(
    weight_VF: Tensor,
    bias_V: Tensor,
    feature_MF: Tensor,
    sample_M: Tensor,
    prior_V: Tensor,
    new: Sequence[int],
) -> None:
    """Biases of new behaviors, in place, for which the mean of p(b) is the prior of b.

    Each round moves every bias by log(prior / mean p), until the two agree.
    """
    never_V = torch.zeros_like(bias_V)
    never_V[UNKNOWN] = -1e4
    ids = torch.tensor(list(new))
    scores_MV = feature_MF @ weight_VF.T + never_V
    start = scores_MV.logsumexp(1).mean() - scores_MV[:, ids].mean(0) + prior_V[ids].log()
    bias_V[ids] = start
    for _ in range(_NUM_ROUNDS):
        mean_V = sample_M @ (scores_MV + bias_V).softmax(1)
        step = (prior_V[ids] / mean_V[ids].clamp_min(1e-12)).log()
        bias_V[ids] += step
        if step.abs().max() < _SETTLED:
            break
