"""Does wait.onnx give every waiting time the probability that training gave it?"""

# A predictions, K kernels, B bins, Q quantiles in a bin, D width

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from edgebehave_export.parity.replay import Device, History
from edgebehave_train.kernels.copy_kernels import copy_numbers
from edgebehave_train.kernels.time_gaps import NUM_BINS, NUM_QUANTILES, bin_of_gap
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.model.behavior_model import BehaviorModel

FloatArray = npt.NDArray[np.float32]


def gap_differences(
    model: BehaviorModel,
    log: MappedLog,
    targets: Targets,
    histories: list[History],
    devices: Mapping[str, Device],
    hidden: Mapping[str, list[FloatArray]],
) -> dict[str, FloatArray]:
    """|p(bin of what came) of a graph - that of training|, (A,), by the name of the device.

    Training counts the kernels in a packed form (`copy_numbers`), which the states of the fp32
    graph complete to its mixture. Targets whose waiting time has no beginning are left out.

    hidden  states of each device after each event of each history.
    """
    numbers = copy_numbers(log, log.behavior_log(np.zeros(len(log.event), bool)))
    targets = targets.take(numbers.gap_bin[targets.row] >= 0)
    row, gap_bin = targets.row, numbers.gap_bin[targets.row]
    at = (targets.event - log.user_start[targets.user]).tolist()
    asked = list(zip(targets.user.tolist(), at, gap_bin.tolist(), strict=True))
    state_AD = torch.from_numpy(np.stack([hidden["fp32"][user][i - 1] for user, i, _ in asked]))
    with torch.inference_mode():
        heads = model.generation
        gates = heads.gap_gate(state_AD, torch.from_numpy(numbers.gap_evidence[row])).exp().numpy()
        bins = heads.gap_log_probs(state_AD, torch.from_numpy(numbers.pace_counts[row])).exp()
    network_A = bins.numpy()[np.arange(len(row)), gap_bin]
    expected_A = gates[:, 0] * network_A + (gates[:, 1:] * numbers.gap_probs[row]).sum(1)
    differences = {}
    for name, device in devices.items():
        got_A = np.empty_like(expected_A)
        for a, (user, i, which) in enumerate(asked):
            gap_s, probs = device.wait(hidden[name][user][i - 1], histories[user], i)
            in_bins, own = np.split(probs, [NUM_BINS * NUM_QUANTILES])
            is_same = bin_of_gap(gap_s[len(in_bins) :]) == which
            got_A[a] = in_bins.reshape(NUM_BINS, -1)[which].sum() + own[is_same].sum()
        differences[name] = np.abs(got_A - expected_A)
    return differences
