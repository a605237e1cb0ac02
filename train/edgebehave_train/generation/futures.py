"""The distribution of the future of users, step by step: time, behavior, event, location.

    gap ~ p(gap | h)      time = last + gap          behavior ~ p(b | h, time), habits included
    event ~ p(e | b, z)   location ~ p(l | e, z)

Every draw is appended to the user's past: the network reads it, and the kernels take it as the last
behavior and the last location. But the kernels copy from real behaviors alone. A generated behavior
is no evidence of what the user likes; counted as such, every random draw would make itself more
probable, and the future would drift away from the user. Events without a behavior are read and
never generated. Temperature and top-p change the draws of names (behavior, event, location), not of
waiting times, which have no few best values. A user keeps the offset of local time of the last known
event.
"""

# U users, C behaviors that the kernels look back on, V behaviors, K kernels, D width

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.answers.sampling import Sampling
from edgebehave.answers.waiting_time import clock_rates, shares_in_bins
from edgebehave.habits import KERNELS, HabitHistory, kernel_weights
from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.generation.past import Past, Prompts, Sight
from edgebehave_train.kernels.copy_kernels import (
    GAP_KERNELS,
    LOCATION_KERNELS,
    Occurrences,
    gap_weights,
    location_weights,
)
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.kernels.time_gaps import NUM_PACES, GapDistribution, bin_of_gap, pace_of_bin
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.model.decoder import Decoder

DRAWS = 4
"""Uniform numbers per step: for gap, behavior, event, location."""


class LocationNames:
    """Maps between the locations of a store, which the kernels copy, and those of a vocabulary."""

    def __init__(self, store: EventStore, vocabulary: Vocabulary) -> None:
        in_store = store.vocabulary.translate(vocabulary, "locations").astype(np.int64)
        only_here = np.flatnonzero(in_store == 0)[1:]  # the first is "no location" in both
        in_store[only_here] = store.vocabulary.num_locations + np.arange(len(only_here))
        self.identity_of_location = torch.from_numpy(in_store)
        self.locations = [*store.vocabulary.locations, *(vocabulary.locations[i] for i in only_here)]
        self.location_of_identity = np.concatenate(
            [vocabulary.translate(store.vocabulary, "locations"), only_here]
        ).astype(np.int64)


class Futures:
    """Some users, and the part of their future that was generated so far.

    start_s  (U,) time of the last known behavior of each.
    """

    def __init__(
        self, model: BehaviorModel, log: MappedLog, names: LocationNames, prompts: Prompts, num_steps: int
    ) -> None:
        """Raises ValueError if a prompt has no behavior."""
        self.model, self.names = model, names
        self.num_events = log.vocabulary.num_events
        self.event_to_behavior = torch.tensor(log.vocabulary.event_to_behavior)
        num_private = int(log.behavior.max(initial=0)) + 1
        self.num_candidates = max(log.vocabulary.num_behaviors, num_private)
        self.past = Past.of_prompts(log, prompts, num_steps)
        self.start_s = self.past.time_s[:, -1].copy()
        self.num_seen = prompts.stop - prompts.start
        self.now_s = log.time_s[prompts.stop - 1]
        self.utc_offset_min = log.utc_offset_min[prompts.stop - 1].astype(np.int64)
        self.first_generated = self.past.behavior.shape[1]
        self.clock_rate_UDS = clock_rates(
            self.past.time_s, self.past.utc_offset_min, self.past.is_there, self.model.generation.clock_rate_DS.numpy()
        )
        self.decoder = Decoder(model, len(prompts))
        self.hidden = self._read(log, prompts)

    def _read(self, log: MappedLog, prompts: Prompts) -> Tensor:
        """The state after the prompts; the network reads its receptive field of them."""
        field = self.model.config.receptive_field
        length = int(min(field, (prompts.stop - prompts.start).max()))
        position = prompts.stop[:, None] - np.arange(length, 0, -1)
        is_there = position >= prompts.start[:, None]
        position = np.maximum(position, 0)
        columns = [
            torch.from_numpy(column[position].astype(np.int64))
            for column in (log.event, log.location, log.weekday, log.slot)
        ]
        there = torch.from_numpy(is_there)
        hidden = torch.empty(0)
        for n in range(length):
            hidden = self.decoder.step(*(column[:, n] for column in (*columns, there)))
        return hidden

    @torch.inference_mode()
    def step(self, draws_U4: npt.NDArray[np.float64], sampling: Sampling) -> dict[str, npt.NDArray[np.integer]]:
        """One more behavior of each user: the columns of `Continuations`, (U,) each.

        draws_U4  in [0, 1): for gap, behavior, event, location.
        """
        past, occurred, sight = self.past, self.past.occurrences(), self.past.sight(self.num_seen)
        gaps = self._gap_distribution(occurred, sight)
        elapsed_s = self.now_s - past.time_s[:, -1]
        if elapsed_s.any():  # events without a behavior have passed since the last that has one
            gaps = gaps.later_than(elapsed_s)
        gap_s = gaps.draw(draws_U4[:, 0])
        time_s = past.time_s[:, -1] + gap_s

        weekday, slot = weekday_and_slot(time_s, self.utc_offset_min)
        z = self.model.query(self.hidden, torch.from_numpy(weekday), torch.from_numpy(slot))
        behavior = sampling.draw(self._behavior_probs(z, sight.seen, time_s), draws_U4[:, 1])
        event_probs = self.model.generation.event_log_probs(
            z, torch.from_numpy(behavior), self.model.event, self.event_to_behavior
        ).exp()
        known_event = sampling.draw(event_probs.numpy(), draws_U4[:, 2])
        is_own = behavior >= self.model.config.num_behaviors
        event = np.where(is_own, self.num_events + behavior, known_event)
        event_id = np.where(is_own, 0, known_event)
        following = Occurrences.of_columns(
            behavior=behavior[:, None],
            event=event[:, None],
            location=np.zeros_like(event)[:, None],
            time_s=time_s[:, None],
            utc_offset_min=self.utc_offset_min[:, None],
            gap_s=gap_s[:, None],
        )
        probs = self._location_probs(z, torch.from_numpy(event_id), occurred, following, sight)
        location = sampling.draw(probs, draws_U4[:, 3])

        columns = {
            "behavior": behavior,
            "event": event,
            "location": location,
            "time_s": time_s,
            "utc_offset_min": self.utc_offset_min,
        }
        there = np.ones(len(time_s), bool)
        past.append(**columns, event_index=self.num_seen, is_there=there)
        self.num_seen = self.num_seen + 1
        self.first_generated = max(0, self.first_generated - 1)
        self.now_s = time_s
        ids = (event_id, self.names.location_of_identity[location], weekday, slot, there)
        self.hidden = self.decoder.step(*(torch.from_numpy(column) for column in ids))
        return columns

    def _gap_distribution(self, occurred: Occurrences, sight: Sight) -> GapDistribution:
        heads = self.model.generation
        last = occurred.at(np.s_[:, -1:])
        weights_KUC = gap_weights(occurred.shifted(), last, sight.age, sight.has_before, sight.has_two_before)
        weights_KUC[..., self.first_generated :] = 0
        gates, own_UC = _mixed(heads.gap_gate, self.hidden, weights_KUC)
        pace_counts = self._pace_counts(weights_KUC, occurred)
        network = heads.gap_log_probs(self.hidden, torch.from_numpy(pace_counts)).exp()
        values_BQ = heads.gap_values_BQ.numpy()
        return GapDistribution.of_mixture(
            (gates[:, :1] * network).numpy(),
            shares_in_bins(self.clock_rate_UDS, self.past.time_s[:, -1], self.utc_offset_min, values_BQ),
            values_BQ,
            own_UC.numpy(),
            occurred.gap_s,
        )

    def _pace_counts(self, weights_KUC: npt.NDArray[np.float32], occurred: Occurrences) -> npt.NDArray[np.float32]:
        """(U, P) the user's own waiting times in each group of bins, of those that a kernel copies from."""
        is_counted = weights_KUC[GAP_KERNELS.index("frequency")] > 0
        counts = np.zeros((len(is_counted), NUM_PACES), np.float32)
        user, column = is_counted.nonzero()
        pace = pace_of_bin(bin_of_gap(occurred.gap_s[user, column]))
        np.add.at(counts, (user, pace), 1)
        return counts

    def _behavior_probs(
        self, z: Tensor, seen: npt.NDArray[np.bool_], time_s: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """p(b) of the mixture, (U, V + private ids)."""
        network = self.model.logits(z).softmax(-1)
        probs = network.new_zeros(len(z), self.num_candidates)
        if not self.model.config.habits:
            probs[:, : network.shape[1]] = network
            return probs.numpy()
        past = self.past
        weights_KUC = np.zeros((len(KERNELS), *seen.shape), np.float32)
        has_time = self.model.config.query_context != "none"
        for u, first in enumerate(seen.argmax(1).tolist()):
            history = HabitHistory(
                behavior=past.behavior[u, first:],
                location=past.location[u, first:],
                time_s=past.time_s[u, first:],
                utc_offset_min=past.utc_offset_min[u, first:],
            )
            asked_at = int(time_s[u]) if has_time else None
            offset = int(self.utc_offset_min[u])
            weights_KUC[:, u, first:] = kernel_weights(history, asked_at, offset)
        if self.model.config.learned_kernel:
            learned_UC = self._learned_weights(z, seen, time_s)
            weights_KUC = np.concatenate([weights_KUC, learned_UC[None]])
        weights_KUC[:, :, self.first_generated :] = 0
        is_known_UC = past.behavior < network.shape[1]
        num_known = torch.from_numpy((weights_KUC[0] * is_known_UC).sum(1))

        def log_gates(z: Tensor, evidence: Tensor) -> Tensor:
            return self.model.gates(z, evidence, num_known).log()

        gates, own_UC = _mixed(log_gates, z, weights_KUC)
        probs[:, : network.shape[1]] = gates[:, :1] * network
        return probs.scatter_add_(1, torch.from_numpy(past.behavior), own_UC).numpy()

    def _learned_weights(
        self, z: Tensor, seen: npt.NDArray[np.bool_], time_s: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Weights of the learned kernel, (U, C), with each user's past and query as a short log."""
        user, column = seen.nonzero()
        stop = (seen.sum(1) + 1).cumsum()
        query, past_row = stop - 1, np.arange(len(user)) + user

        def of_log(past: npt.NDArray[np.integer], asked: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
            values = np.empty(int(stop[-1]), np.int64)
            values[past_row], values[query] = past[user, column], asked
            return values

        none = np.zeros(len(seen), np.int64)
        behaviors = BehaviorLog.of_columns(
            user_start=np.append(0, stop),
            mapped_behavior=of_log(self.past.behavior, none),
            location=of_log(self.past.location, none),
            time_s=of_log(self.past.time_s, time_s),
            utc_offset_min=of_log(self.past.utc_offset_min, self.utc_offset_min),
            is_train=np.zeros(int(stop[-1]), bool),
            num_behaviors=self.num_candidates,
        )
        time_known = torch.full((len(seen),), self.model.config.query_context != "none")
        pairs = PastBehaviors.of_log(behaviors, z.device).pairs(torch.from_numpy(query), time_known)
        weights_UC = np.zeros(seen.shape, np.float32)
        weights_UC[user, column] = self.model.learned_kernel.weights(z, pairs)[0].numpy()
        return weights_UC

    def _location_probs(
        self, z: Tensor, event_U: Tensor, occurred: Occurrences, following: Occurrences, sight: Sight
    ) -> npt.NDArray[np.float32]:
        """p(location) over the locations of the store and of the vocabulary, (U, locations)."""
        weights_KUC = location_weights(
            occurred, occurred.shifted(), occurred.at(np.s_[:, -1:]), following, sight.age, sight.seen, sight.has_before
        )
        is_evidence = [name != "last" for name in LOCATION_KERNELS]
        weights_KUC[is_evidence, :, self.first_generated :] = 0
        heads, event_vector = self.model.generation, self.model.event(event_U)
        context = torch.cat([z, event_vector], -1)
        gates, own_UC = _mixed(heads.place_gate, context, weights_KUC)
        network = heads.location_log_probs(z, event_vector, self.model.location).exp()
        probs = network.new_zeros(len(z), len(self.names.locations))
        probs.index_add_(1, self.names.identity_of_location, gates[:, :1] * network)
        return probs.scatter_add_(1, torch.from_numpy(self.past.location), own_UC).numpy()


def _mixed(
    gate: Callable[[Tensor, Tensor], Tensor], context: Tensor, weights_KUC: npt.NDArray[np.float32]
) -> tuple[Tensor, Tensor]:
    """Gates (U, 1 + K) of a mixture, and the probability that its kernels give to each past behavior, (U, C)."""
    weights = torch.from_numpy(weights_KUC)
    evidence_UK = weights.sum(2).T
    gates = gate(context, evidence_UK).exp()
    scale = gates[:, 1:] / evidence_UK.clamp_min(1e-9)
    return gates, torch.einsum("uk,kuc->uc", scale, weights)
