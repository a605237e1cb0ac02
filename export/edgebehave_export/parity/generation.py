"""Do next.onnx and place.onnx give what came the probability that training gave it?"""

# A predictions, D width, V behaviors, U spare slots, L locations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.time_features import weekday_and_slot
from edgebehave_export.parity.replay import Device, History
from edgebehave_train.kernels.copy_kernels import copy_numbers
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.model.behavior_model import BehaviorModel

FloatArray = npt.NDArray[np.float32]


def generation_differences(
    model: BehaviorModel,
    log: MappedLog,
    targets: Targets,
    mixture: FloatArray,
    histories: list[History],
    devices: Mapping[str, Device],
    hidden: Mapping[str, list[FloatArray]],
) -> dict[str, dict[str, FloatArray]]:
    """|p of a graph - that of training| by what is drawn and the name of the device, (A,) each.

    Behavior: the largest difference over all. Event, given the behavior, and location, given the
    event: of those that came, where the vocabulary holds the event.

    mixture  (A, V + U) probabilities of training at the time of each target.
    hidden   states of each device after each event of each history.
    """
    at = (targets.event - log.user_start[targets.user]).tolist()
    asked = list(zip(targets.user.tolist(), at, strict=True))
    state_AD = torch.from_numpy(np.stack([hidden["fp32"][user][i - 1] for user, i in asked]))
    expected_event, expected_location = _by_training(model, log, targets, state_AD)
    event, location = log.event[targets.event], log.location[targets.event]
    behavior = log.behavior[targets.event]
    event_to_behavior = np.array(log.vocabulary.event_to_behavior)
    num_locations = model.config.num_locations
    moments = list(zip(*(column.tolist() for column in _moments(log, targets)), strict=True))
    differences: dict[str, dict[str, FloatArray]] = {
        "generated behavior": {},
        "event": {},
        "location": {},
    }
    for name, device in devices.items():
        off = np.zeros((len(differences), len(asked)), np.float32)
        for a, (user, i) in enumerate(asked):
            history = histories[user]
            probs, scores, z_1D = device.next(hidden[name][user][i - 1], history, i, moments[a])
            off[0, a] = np.abs(probs - mixture[a]).max()
            if event[a] == 0:
                continue
            stands_for = event_to_behavior == behavior[a]
            stands_for[0] = False
            likely = np.exp(scores - scores[stands_for].max()) * stands_for
            off[1, a] = abs(likely[event[a]] / likely.sum() - expected_event[a])
            known, copied, copied_from = device.location(z_1D, history, i)
            came = history.location[i]
            p_location = copied[copied_from == came].sum()
            if came < num_locations:
                p_location += known[location[a]]
            off[2, a] = abs(p_location - expected_location[a])
        for what, row in zip(differences, off, strict=True):
            differences[what][name] = row
    return differences


def _moments(log: MappedLog, targets: Targets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """When they come; where a history was joined, not before the event before."""
    time_s = np.maximum(log.time_s[targets.event], log.time_s[targets.event - 1])
    return time_s, log.utc_offset_min[targets.event].astype(np.int64)


@torch.inference_mode()
def _by_training(
    model: BehaviorModel, log: MappedLog, targets: Targets, state_AD: torch.Tensor
) -> tuple[FloatArray, FloatArray]:
    """p(event that came | its behavior) and p(location that came | event), (A,) each."""
    heads = model.generation
    weekday, slot = weekday_and_slot(*_moments(log, targets))
    z_AD = model.query(state_AD, torch.from_numpy(weekday), torch.from_numpy(slot))
    event, location, behavior = (
        torch.from_numpy(column[targets.event].astype(np.int64)) for column in (log.event, log.location, log.behavior)
    )
    event_to_behavior = torch.tensor(log.vocabulary.event_to_behavior)
    of_event = heads.event_log_probs(z_AD, behavior, model.event, event_to_behavior).exp()
    p_event = of_event.gather(1, event[:, None])[:, 0]
    # Training scores a location that the vocabulary does not hold as one of id 0: the kernels alone
    # tell such locations apart, and here they alone are asked about them.
    numbers = copy_numbers(log, log.behavior_log(np.zeros(len(log.event), bool)))
    event_vector = model.event(event)
    evidence = torch.from_numpy(numbers.location_evidence[targets.row])
    gates = heads.place_gate(torch.cat([z_AD, event_vector], -1), evidence).exp()
    network = heads.location_log_probs(z_AD, event_vector, model.location).exp()
    p_network = network.gather(1, location[:, None])[:, 0]
    is_new = (log.location[targets.event] == 0) & (log.location_identity[targets.event] != 0)
    p_network[torch.from_numpy(is_new)] = 0
    copied = (gates[:, 1:] * torch.from_numpy(numbers.location_probs[targets.row])).sum(1)
    return p_event.numpy(), (gates[:, 0] * p_network + copied).numpy()
