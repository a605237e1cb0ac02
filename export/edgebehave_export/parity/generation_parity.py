"""Comparisons of wait.onnx, next.onnx and place.onnx with the heads of training."""

# A targets, D width, B bins, Q quantiles in a bin, V behaviors, U spare slots, K kernels

from dataclasses import replace

import numpy as np
import torch

from edgebehave.time_features import weekday_and_slot
from edgebehave_export.parity.replay import FloatArray, Replay
from edgebehave_export.parity.report import GraphComparison
from edgebehave_train.kernels.copy_kernels import CopyNumbers, copy_numbers
from edgebehave_train.kernels.time_gaps import NUM_BINS, NUM_QUANTILES, bin_of_gap
from edgebehave_train.logs.mapped_log import event_identity
from edgebehave_train.model.behavior_model import BehaviorModel


@torch.inference_mode()
def waiting_time_comparison(model: BehaviorModel, replay: Replay) -> GraphComparison:
    """p(bin of the waiting time that came), (A,); targets whose waiting time has no beginning are left out.

    Training counts the kernels in a packed form (`copy_numbers`), which the states of the fp32
    graph complete to its mixture.
    """
    numbers = _copy_numbers(replay)
    replay = replace(replay, targets=replay.targets.take(numbers.gap_bin[replay.targets.row] >= 0))
    row = replay.targets.row
    gap_bin_A = numbers.gap_bin[row]
    state_AD = torch.from_numpy(replay.states("fp32"))
    heads = model.generation
    gates = heads.gap_gate(state_AD, torch.from_numpy(numbers.gap_evidence[row])).exp().numpy()
    bins = heads.gap_log_probs(state_AD, torch.from_numpy(numbers.pace_counts[row])).exp().numpy()
    expected_A = gates[:, 0] * bins[np.arange(len(row)), gap_bin_A] + (gates[:, 1:] * numbers.gap_probs[row]).sum(1)
    found = {}
    for name, device in replay.devices.items():
        found[name] = np.empty_like(expected_A)
        for a, question in enumerate(replay.questions(name)):
            gap_s, probs = device.wait(question)
            in_bins, own = np.split(probs, [NUM_BINS * NUM_QUANTILES])
            is_same = bin_of_gap(gap_s[len(in_bins) :]) == gap_bin_A[a]
            found[name][a] = in_bins.reshape(NUM_BINS, -1)[gap_bin_A[a]].sum() + own[is_same].sum()
    return GraphComparison("probability of the waiting time", expected_A, found)


def generation_comparisons(model: BehaviorModel, replay: Replay, mixture: FloatArray) -> list[GraphComparison]:
    """Comparisons of the behavior (A, V + U), and of the event that came, given its behavior, and of its location,
    given the event, (A,) each; 0 where the vocabulary does not hold the event.

    mixture  (A, V + U) probabilities of the model at the time of each target.
    """
    log, event_A = replay.log, replay.targets.event
    is_known_A = log.event[event_A] > 0
    event_to_behavior = np.array(log.vocabulary.event_to_behavior)
    p_event_A, p_location_A = (expected * is_known_A for expected in _by_training(model, replay))
    comparisons = [
        GraphComparison("probability of the generated behavior", mixture, {}),
        GraphComparison("probability of the event", p_event_A, {}),
        GraphComparison("probability of the location", p_location_A, {}),
    ]
    for name, device in replay.devices.items():
        behaviors, events, locations = (np.zeros_like(comparison.expected) for comparison in comparisons)
        for a, question in enumerate(replay.questions(name)):
            behaviors[a], scores, z_1D = device.next(question)
            if not is_known_A[a]:
                continue
            stands_for = event_to_behavior == log.behavior[event_A[a]]
            stands_for[0] = False
            likely = np.exp(scores - scores[stands_for].max()) * stands_for
            events[a] = likely[log.event[event_A[a]]] / likely.sum()
            known, copied, copied_from = device.location(question, z_1D)
            came = question["location"][0]
            locations[a] = copied[copied_from == came].sum()
            if came < model.config.num_locations:
                locations[a] += known[came]
        for comparison, found in zip(comparisons, (behaviors, events, locations), strict=True):
            comparison.found[name] = found
    return comparisons


def _copy_numbers(replay: Replay) -> CopyNumbers:
    """Kernels of the whole log, nothing of which counts as training."""
    return copy_numbers(event_identity(replay.log), replay.log.behavior_log(np.zeros(len(replay.log.event), bool)))


@torch.inference_mode()
def _by_training(model: BehaviorModel, replay: Replay) -> tuple[FloatArray, FloatArray]:
    """p(event that came | its behavior) and p(location that came | event), (A,) each."""
    log, targets, heads = replay.log, replay.targets, model.generation
    weekday, slot = weekday_and_slot(*replay.moments)
    state_AD = torch.from_numpy(replay.states("fp32"))
    z_AD = model.query(state_AD, torch.from_numpy(weekday), torch.from_numpy(slot))
    event, location, behavior = (
        torch.from_numpy(column[targets.event].astype(np.int64)) for column in (log.event, log.location, log.behavior)
    )
    event_to_behavior = torch.tensor(log.vocabulary.event_to_behavior)
    of_event = heads.event_log_probs(z_AD, behavior, model.event, event_to_behavior).exp()
    p_event = of_event.gather(1, event[:, None])[:, 0]
    # Training scores a location that the vocabulary does not hold as one of id 0: the kernels alone
    # tell such locations apart, and here they alone are asked about them.
    numbers = _copy_numbers(replay)
    event_vector = model.event(event)
    evidence = torch.from_numpy(numbers.location_evidence[targets.row])
    gates = heads.place_gate(torch.cat([z_AD, event_vector], -1), evidence).exp()
    network = heads.location_log_probs(z_AD, event_vector, model.location).exp()
    p_network = network.gather(1, location[:, None])[:, 0]
    is_new = (log.location[targets.event] == 0) & (log.location_identity[targets.event] != 0)
    p_network[torch.from_numpy(is_new)] = 0
    copied = (gates[:, 1:] * torch.from_numpy(numbers.location_probs[targets.row])).sum(1)
    return p_event.numpy(), (gates[:, 0] * p_network + copied).numpy()
