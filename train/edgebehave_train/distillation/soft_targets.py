"""Soft targets: the teacher's probabilities of all behaviors, beside the behavior of the log.

    L = objective + w T^2 mean_i KL(q_i^(1/T) || p_i^(1/T))              Hinton et al. 2015, Sec. 2

q_i is the teacher's distribution at target i, p_i that of the student's network, and x^(1/T) is
raised and made to sum to 1 again; T^2 keeps the size of the gradient as T grows. The mean runs
over the targets that have a teacher's answer; all others train on the objective alone.

The student is the network, not the mixture with the habit kernels: a teacher that reads the last
few events does not know a user's habits, and a mixture trained to agree with it would lose them.
The gates learn from the objective how much weight the network gets.

The distributions are compared over the behaviors that the teacher knows. The probabilities of all
other behaviors are neither raised nor lowered.
"""

# N answers of the teacher, M targets of a batch, V behaviors

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave_train.loading.batches import Batch
from edgebehave_train.model.behavior_model import TargetLosses

_NEVER = -1e4
"""Score of a behavior that is left out, as in `BehaviorModel.never_V`."""


class SoftTargets:
    """The term that a teacher adds to the loss of a training step: `Start.extra_loss`."""

    def __init__(
        self,
        event_N: npt.NDArray[np.int64],
        probs_NV: npt.NDArray[np.floating],
        known_V: npt.NDArray[np.bool_],
        *,
        num_events: int,
        share: float,
        weight: float = 1.0,
        temperature: float = 2.0,
    ) -> None:
        """The answers of a teacher as soft targets of a log.

        event_N      positions of the targets in the log, each once.
        probs_NV     the teacher's distributions; rows sum to 1 over the behaviors it knows.
        known_V      whether the teacher knows each behavior; never id 0.
        num_events   of the log.
        share        of the training targets that have an answer, in (0, 1].
        weight       w, >= 0; 1 = an answer counts as much as the behavior of the log.
        temperature  T, >= 1; with a large T the unlikely behaviors count more.
        Raises ValueError for a weight, share or temperature out of range.
        """
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight must not be negative, got {weight}")
        if not (math.isfinite(temperature) and temperature >= 1):
            raise ValueError(f"temperature must be at least 1, got {temperature}")
        if not 0 < share <= 1:
            raise ValueError(f"share of targets with an answer must lie in (0, 1], got {share}")
        row = np.full(num_events, -1, np.int64)
        row[event_N] = np.arange(len(event_N))
        self._row = torch.from_numpy(row)
        self._known_V = torch.from_numpy(np.asarray(known_V, bool))
        self._probs_NV = softened(torch.from_numpy(np.asarray(probs_NV, np.float32)), temperature)
        self._share, self._weight, self._temperature = share, weight, temperature

    def __call__(self, batch: Batch, losses: TargetLosses) -> Tensor:
        """w T^2 times the mean divergence, estimated from the targets of a batch: their sum over
        the number of answers that a batch of M targets is expected to hold."""
        self._to(losses.network_logits.device)
        row_M = self._row[batch.target_event]
        answered = row_M >= 0
        divergence = divergence_of_scores(
            self._probs_NV[row_M[answered]],
            losses.network_logits[answered].masked_fill(~self._known_V, _NEVER),
            self._temperature,
        )
        expected = len(row_M) * self._share
        return self._weight * self._temperature**2 * divergence.sum() / expected

    def _to(self, device: torch.device) -> None:
        self._row, self._known_V, self._probs_NV = (
            one.to(device) for one in (self._row, self._known_V, self._probs_NV)
        )


def softened(probs: Tensor, temperature: float) -> Tensor:
    """p^(1/T), made to sum to 1 over the last axis again; zeros stay 0."""
    raised = probs.double() ** (1 / temperature)
    return (raised / raised.sum(-1, keepdim=True)).float()


def divergence_of_scores(probs: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """KL(probs || softmax(logits / T)), (...), in nats, from probs and logits (..., V).

    probs  softened already; 0 log 0 = 0.
    """
    log_student = (logits / temperature).log_softmax(-1)
    return (torch.xlogy(probs, probs) - probs * log_student).sum(-1)
