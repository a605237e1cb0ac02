"""Probabilities of a model for every target of a log, equal to those of a device."""

# T targets, R targets of a block, D width, C = V + U candidates, K kernels

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.time_features import weekday_and_slot
from edgebehave_train.kernels.habit_kernels import kernel_blocks
from edgebehave_train.kernels.pairs import HistoryPairs, PastBehaviors
from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog, Targets
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.logs.packing import pack_rows
from edgebehave_train.model.attention import choose_backend
from edgebehave_train.model.behavior_model import UNKNOWN_TIME, BehaviorModel

_ROW_EVENTS = 4096

Experts = Literal["all", "network"]


@torch.inference_mode()
def hidden_states(
    model: BehaviorModel, log: MappedLog, ranges: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
    """States after the events of whole users, a row of users at a time.

    ranges  (S, 2) first and past-the-end position of each user's events, from their first.
    Yields  (T,) positions in the log and the states (T, D), float32.
    """
    device = next(model.parameters()).device
    backend = choose_backend(device, torch.float32)
    user = log.user_of_event()
    for row in pack_rows(ranges, _ROW_EVENTS, cut=False):

        def column(values: npt.NDArray[np.integer], row: npt.NDArray[np.int64] = row) -> Tensor:
            return torch.from_numpy(values[row].astype(np.int64)).to(device)[None]

        plan = model.blocks.plan(column(user), column(log.time_s), backend)
        hidden = model.hidden(column(log.event), column(log.location), column(log.weekday), column(log.slot), plan)
        yield row, hidden[0]


def target_probs(
    model: BehaviorModel,
    log: MappedLog,
    behaviors: BehaviorLog,
    targets: Targets,
    ask_early_s: int | None = 0,
    experts: Experts = "all",
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """p(b) of the model for every target, block by block; together with its lookup, if it has one.

    Arguments and blocks as in `named_probs`. A model with a lookup answers on time or without a time, not early.
    """
    for which, probs_RC in named_probs(model, log, behaviors, targets, ask_early_s, experts):
        is_combined = model.lookup is not None and experts == "all"
        yield which, model.lookup.combine(behaviors, targets, which, probs_RC) if is_combined else probs_RC


@torch.inference_mode()
def named_probs(
    model: BehaviorModel,
    log: MappedLog,
    behaviors: BehaviorLog,
    targets: Targets,
    ask_early_s: int | None = 0,
    experts: Experts = "all",
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """p(b) of the named model alone for every target, block by block.

    behaviors    made with the same `ask_early_s`.
    ask_early_s  seconds between the prediction and the target, at most those since the last event;
                 None: the query has no time. A model with query_context "none" never has one.
    experts      "network" leaves the habit kernels out.
    Yields       (R,) indices into targets and (R, C) float32 probabilities; column 0 is unknown.
    """
    device = next(model.parameters()).device
    # Targets ascend, so those of one user are adjacent.
    first = np.flatnonzero(np.diff(targets.user, prepend=-1))
    stop = np.append(first[1:], len(targets))
    users = targets.user[first]
    ranges = np.stack([log.user_start[users], targets.event[stop - 1]], 1)
    borders = zip(first.tolist(), stop.tolist(), strict=True)
    target_range = dict(zip(users.tolist(), borders, strict=True))
    weekday, slot = query_moments(log, targets, ask_early_s)
    user_of_event = log.user_of_event()
    time_known = model.config.query_context != "none" and ask_early_s is not None
    past = PastBehaviors.of_log(behaviors, device) if model.config.learned_kernel else None
    for positions, hidden in hidden_states(model, log, ranges):
        row_users = np.unique(user_of_event[positions])
        for user in row_users.tolist():
            begin, end = target_range[user]
            # The state before a target is the one after the event just before it.
            at = np.searchsorted(positions, targets.event[begin:end] - 1)
            z = model.query(
                hidden[torch.from_numpy(at).to(device)],
                torch.from_numpy(weekday[begin:end]).to(device),
                torch.from_numpy(slot[begin:end]).to(device),
                torch.from_numpy(log.location[targets.event[begin:end]].astype(np.int64)).to(device),
            )
            network = model.logits(z).softmax(-1)
            if not model.config.habits or experts == "network":
                padding = torch.zeros(end - begin, behaviors.num_spare, device=device)
                yield np.arange(begin, end), torch.cat([network, padding], 1).cpu().numpy()
                continue
            rows = targets.row[begin:end] - behaviors.user_start[user]
            history = behaviors.user(user)
            if model.config.query_context == "none":
                # The model was trained without the time of the target, so its kernels must not use it.
                hidden_time = np.full_like(history.query_time_s, NO_TIME)
                history = replace(history, query_time_s=hidden_time)
            for block in kernel_blocks(history, int(rows[0]), int(rows[-1]) + 1):
                inside = (rows >= block.rows.start) & (rows < block.rows.stop)
                which = np.flatnonzero(inside)
                if not len(which):
                    continue
                weights = torch.from_numpy(block.weights_KRC[:, rows[which] - block.rows.start]).to(device)
                pick = torch.from_numpy(which).to(device)
                behavior = torch.from_numpy(history.behavior[block.columns]).to(device)
                pairs = None
                if past is not None:
                    row = torch.from_numpy(rows[which] + behaviors.user_start[user]).to(device)
                    pairs = past.pairs(row, torch.full_like(row, time_known, dtype=torch.bool))
                probs = mixture_probs(model, z[pick], network[pick], weights, behavior, pairs, behaviors.num_candidates)
                yield begin + which, probs.cpu().numpy()


def mixture_probs(
    model: BehaviorModel,
    z_RD: Tensor,
    network_RV: Tensor,
    weights_KRC: Tensor,
    behavior_C: Tensor,
    pairs: HistoryPairs | None,
    num_candidates: int,
) -> Tensor:
    """p(b) = g_0 p_0(b) + sum_k g_k / E_k sum_j w_k(j) [b_j = b], (R, num_candidates).

    weights_KRC, behavior_C  of the habit kernels; pairs those of the learned kernel, if any.
    """
    evidence_RK = weights_KRC.sum(2).T
    if pairs is not None:
        weight_P, evidence_R = model.learned_kernel.weights(z_RD, pairs)
        evidence_RK = torch.cat([evidence_RK, evidence_R[:, None]], 1)
    # The first kernel counts: its weight is 1 for every behavior that the query sees.
    is_known_C = behavior_C < network_RV.shape[1]
    gates = model.gates(z_RD, evidence_RK, weights_KRC[0] @ is_known_C.to(weights_KRC.dtype))
    scale_RK = gates[:, 1:] / evidence_RK.clamp_min(1e-9)
    weight_RC = torch.einsum("rk,krc->rc", scale_RK[:, : len(weights_KRC)], weights_KRC)
    probs = network_RV.new_zeros(len(z_RD), num_candidates)
    probs[:, : network_RV.shape[1]] = gates[:, :1] * network_RV
    probs.index_add_(1, behavior_C, weight_RC)
    if pairs is not None:
        share_P = weight_P * scale_RK[:, -1].index_select(0, pairs.query)
        probs.index_put_((pairs.query, pairs.behavior.long()), share_P, accumulate=True)
    return probs


def query_moments(
    log: MappedLog, targets: Targets, ask_early_s: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Weekday and slot of the prediction of each target, both (T,) int64."""
    if ask_early_s is None:
        unknown = np.full(len(targets), UNKNOWN_TIME, np.int64)
        return unknown, unknown
    event = targets.event
    asked_at = np.maximum(log.time_s[event] - ask_early_s, log.time_s[event - 1])
    return weekday_and_slot(asked_at, log.utc_offset_min[event])
