"""Generating the future of users, event by event: when, what, which event, and where.

    gap ~ p(gap | h)      time = last + gap          behavior ~ p(b | h, time), habits included
    event ~ p(e | b, z)   place ~ p(l | e, z)

What was drawn is appended to the user's past: the network reads it, and it is what "the last
behavior" and "the last place" mean to the kernels. But the kernels copy from what really happened
alone. A generated behavior is no evidence of what the user likes; counted as such, every chance
draw would make itself likelier, and the future would drift away from the user. Events
without a behavior are read and never written. Temperature and top-p shape what is drawn among
names (behavior, event, place), not the waiting times: those have no few best values to prefer.
A user keeps the offset of local time of the last known event.
"""

# U users, N steps, C behaviors that the kernels look back on, V behaviors, K kernels, D width

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.daily_hours import clock_rates, shares_in_bins
from edgebehave.habits import HABIT_EVENTS, KERNELS, HabitHistory, kernel_weights
from edgebehave.sampling import Sampling
from edgebehave.time_features import weekday_and_slot
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.behavior_log import BehaviorLog
from edgebehave_train.checkpoint import Checkpoint
from edgebehave_train.continuation import Continuations, Prompts, event_identity
from edgebehave_train.copy_kernels import (
    GAP_KERNELS,
    PLACE_KERNELS,
    Occurrences,
    gap_weights,
    place_weights,
)
from edgebehave_train.decoding import Decoder
from edgebehave_train.event_store import EventStore, NamedEvent
from edgebehave_train.history_pairs import PastBehaviors
from edgebehave_train.mapped_log import MappedLog, map_log
from edgebehave_train.model import BehaviorModel
from edgebehave_train.time_gaps import NUM_PACES, GapDistribution, bin_of_gap, pace_of_bin

_USERS_AT_A_TIME = 256
_DRAWS = 4  # gap, behavior, event, place


def require_generation_heads(checkpoint: Checkpoint) -> None:
    """Raises ValueError that says how to get them if a checkpoint has none."""
    if not checkpoint.model_config.generation_heads:
        raise ValueError(
            f"{checkpoint.path} has no generation heads; train with them: "
            "edgebehave train STORE -o OUT --set generation_heads=true"
        )


class Generator:
    """Futures for the users of a store, by one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, store: EventStore) -> None:
        """Raises ValueError if the checkpoint has no generation heads."""
        require_generation_heads(checkpoint)
        self.model = checkpoint.load_model()
        self.vocabulary = checkpoint.vocabulary
        self.store = store
        self.log = map_log(store, checkpoint.vocabulary)
        self._names = _Names(store, checkpoint.vocabulary)

    def prompts_of(self, users: Sequence[str]) -> Prompts:
        """Everything that is known of some users, by name.

        Raises ValueError for a user whom the store does not have.
        """
        names = {name: i for i, name in enumerate(self.store.users())}
        for user in users:
            if user not in names:
                example = next(iter(names))
                raise ValueError(
                    f"{self.store.path} has no user {user!r}; it has for example {example!r}"
                )
        index = np.array([names[user] for user in users], np.int64)
        start, stop = self.log.user_start[index], self.log.user_start[index + 1]
        return Prompts(user=index, start=start, stop=stop)

    def generate(
        self,
        prompts: Prompts,
        num_steps: int,
        *,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> Continuations:
        """The next `num_steps` behaviors of every prompt.

        A user's future depends on the seed and the user, not on who else is asked for.
        Raises ValueError if a prompt has no behavior.
        """
        if num_steps < 1:
            raise ValueError(f"steps must be at least 1, got {num_steps}")
        sampling = sampling or Sampling()
        pieces = []
        for first in range(0, len(prompts), _USERS_AT_A_TIME):
            some = prompts.take(slice(first, first + _USERS_AT_A_TIME))
            draws = np.stack(
                [np.random.default_rng([seed, u]).random((num_steps, _DRAWS)) for u in some.user]
            )
            stream = _Futures(self.model, self.log, self._names, some, num_steps)
            steps = [stream.step(draws[:, n], sampling) for n in range(num_steps)]
            columns = {
                name: np.stack([step[name] for step in steps], 1).astype(np.int64)
                for name in steps[0]
            }
            pieces.append(Continuations(start_s=stream.start_s, **columns))
        return Continuations(
            **{
                f.name: np.concatenate([getattr(piece, f.name) for piece in pieces])
                for f in fields(Continuations)
            }
        )

    def named(self, prompts: Prompts, futures: Continuations, which: int) -> Iterator[NamedEvent]:
        """The future of one prompt in the words of the log."""
        words, num_events = self.vocabulary, self.vocabulary.num_events
        own = slice(int(prompts.start[which]), int(prompts.stop[which]))
        identity = event_identity(self.log)[own]
        for n in range(futures.num_steps):
            event, behavior = int(futures.event[which, n]), int(futures.behavior[which, n])
            if event < num_events:
                name = words.events[event]
            else:
                position = own.start + int(np.flatnonzero(identity == event)[0])
                name = self.store.vocabulary.events[self.store.event[position]]
            place = int(futures.place[which, n])
            yield NamedEvent(
                event=name,
                location=self._names.places[place] if place else None,
                behavior=words.behaviors[behavior] if behavior < words.num_behaviors else name,
                time_s=int(futures.time_s[which, n]),
                utc_offset_min=int(futures.utc_offset_min[which, n]),
            )


class _Names:
    """Between the places of a store, which the kernels copy, and those of a vocabulary."""

    def __init__(self, store: EventStore, vocabulary: Vocabulary) -> None:
        in_store = store.vocabulary.translate(vocabulary, "locations").astype(np.int64)
        only_here = np.flatnonzero(in_store == 0)[1:]  # the first is "no place" in both
        in_store[only_here] = store.vocabulary.num_locations + np.arange(len(only_here))
        self.place_of_location = torch.from_numpy(in_store)
        self.places = [
            *store.vocabulary.locations,
            *(vocabulary.locations[i] for i in only_here),
        ]
        self.location_of_place = np.concatenate(
            [vocabulary.translate(store.vocabulary, "locations"), only_here]
        ).astype(np.int64)


@dataclass(kw_only=True)
class _Past:
    """The last behaviors of each user, newest at the end, (U, C) each.

    event_index  of each among all events of its user; is_there False in front of the first.
    """

    behavior: npt.NDArray[np.int64]
    event: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int64]
    event_index: npt.NDArray[np.int64]
    is_there: npt.NDArray[np.bool_]

    @classmethod
    def of_prompts(cls, log: MappedLog, prompts: Prompts, num_steps: int) -> "_Past":
        """With columns for so many behaviors more, but no more than the kernels look back on."""
        identity = event_identity(log)
        num_behaviors = int((prompts.stop - prompts.start).max()) + num_steps
        shape = len(prompts), min(HABIT_EVENTS, num_behaviors)
        columns = {f.name: np.zeros(shape, np.int64) for f in fields(cls)}
        for u, (start, stop) in enumerate(
            zip(prompts.start.tolist(), prompts.stop.tolist(), strict=True)
        ):
            rows = start + np.flatnonzero(log.behavior[start:stop] >= 0)[-HABIT_EVENTS:]
            if not len(rows):
                raise ValueError("a user without a behavior has no future to generate")
            for name, values in (
                ("behavior", log.behavior),
                ("event", identity),
                ("place", log.place),
                ("time_s", log.time_s),
                ("utc_offset_min", log.utc_offset_min),
            ):
                columns[name][u, -len(rows) :] = values[rows]
            columns["event_index"][u, -len(rows) :] = rows - start
            columns["is_there"][u, -len(rows) :] = 1
        return cls(**{**columns, "is_there": columns["is_there"].astype(bool)})

    def append(self, **newest: npt.NDArray[np.integer]) -> None:
        for name, values in newest.items():
            column = getattr(self, name)
            column[:, :-1] = column[:, 1:]
            column[:, -1] = values


@dataclass(frozen=True, kw_only=True)
class _Sight:
    """What the kernels see of the past, (U, C) each: a behavior, the one before it, the one before
    that; age (1, C) is 0 for the last behavior."""

    seen: npt.NDArray[np.bool_]
    has_before: npt.NDArray[np.bool_]
    has_two_before: npt.NDArray[np.bool_]
    age: npt.NDArray[np.integer]


class _Futures:
    """Some users on their way into the future."""

    def __init__(
        self,
        model: BehaviorModel,
        log: MappedLog,
        names: _Names,
        prompts: Prompts,
        num_steps: int,
    ) -> None:
        self.model, self.names = model, names
        self.num_events = log.vocabulary.num_events
        self.event_to_behavior = torch.tensor(log.vocabulary.event_to_behavior)
        num_private = int(log.behavior.max(initial=0)) + 1
        self.num_candidates = max(log.vocabulary.num_behaviors, num_private)
        self.past = _Past.of_prompts(log, prompts, num_steps)
        self.start_s = self.past.time_s[:, -1].copy()
        self.num_seen = prompts.stop - prompts.start
        self.now_s = log.time_s[prompts.stop - 1]
        self.utc_offset_min = log.utc_offset_min[prompts.stop - 1].astype(np.int64)
        self.first_generated = self.past.behavior.shape[1]
        self.clock_rate_UDS = clock_rates(
            self.past.time_s,
            self.past.utc_offset_min,
            self.past.is_there,
            self.model.generation.clock_rate_DS.numpy(),
        )
        self.decoder = Decoder(model, len(prompts))
        self.hidden = self._read(log, prompts)

    def _read(self, log: MappedLog, prompts: Prompts) -> Tensor:
        """The state after the prompts; the network remembers its receptive field of them."""
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
    def step(
        self, draws_U4: npt.NDArray[np.float64], sampling: Sampling
    ) -> dict[str, npt.NDArray[np.integer]]:
        """One more behavior of each user: the columns of `Continuations`, (U,) each."""
        past, occurred, sight = self.past, self._occurred(), self._sight()
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
            place=np.zeros_like(event)[:, None],
            time_s=time_s[:, None],
            utc_offset_min=self.utc_offset_min[:, None],
            gap_s=gap_s[:, None],
        )
        probs = self._place_probs(z, torch.from_numpy(event_id), occurred, following, sight)
        place = sampling.draw(probs, draws_U4[:, 3])

        columns = {
            "behavior": behavior,
            "event": event,
            "place": place,
            "time_s": time_s,
            "utc_offset_min": self.utc_offset_min,
        }
        there = np.ones(len(time_s), bool)
        past.append(**columns, event_index=self.num_seen, is_there=there)
        self.num_seen = self.num_seen + 1
        self.first_generated = max(0, self.first_generated - 1)
        self.now_s = time_s
        ids = (event_id, self.names.location_of_place[place], weekday, slot, there)
        self.hidden = self.decoder.step(*(torch.from_numpy(column) for column in ids))
        return columns

    def _occurred(self) -> Occurrences:
        past = self.past
        return Occurrences.of_columns(
            behavior=past.behavior,
            event=past.event,
            place=past.place,
            time_s=past.time_s,
            utc_offset_min=past.utc_offset_min,
        )

    def _sight(self) -> "_Sight":
        past = self.past
        seen = past.is_there & (past.event_index >= self.num_seen[:, None] - HABIT_EVENTS)
        has_before = seen & _shifted(seen)
        return _Sight(
            seen=seen,
            has_before=has_before,
            has_two_before=has_before & _shifted(has_before),
            age=np.arange(seen.shape[1])[None, ::-1],
        )

    def _gap_distribution(self, occurred: Occurrences, sight: "_Sight") -> GapDistribution:
        heads = self.model.generation
        last = occurred.at(np.s_[:, -1:])
        weights_KUC = gap_weights(
            occurred.shifted(), last, sight.age, sight.has_before, sight.has_two_before
        )
        weights_KUC[..., self.first_generated :] = 0
        gates, own_UC = _mixed(heads.gap_gate, self.hidden, weights_KUC)
        pace_counts = self._pace_counts(weights_KUC, occurred)
        network = heads.gap_log_probs(self.hidden, torch.from_numpy(pace_counts)).exp()
        values_BQ = heads.gap_values_BQ.numpy()
        return GapDistribution.of_mixture(
            (gates[:, :1] * network).numpy(),
            shares_in_bins(
                self.clock_rate_UDS, self.past.time_s[:, -1], self.utc_offset_min, values_BQ
            ),
            values_BQ,
            own_UC.numpy(),
            occurred.gap_s,
        )

    def _pace_counts(
        self, weights_KUC: npt.NDArray[np.float32], occurred: Occurrences
    ) -> npt.NDArray[np.float32]:
        """(U, P) own waiting times in each group of bins, those that a kernel copies from."""
        is_counted = weights_KUC[GAP_KERNELS.index("frequency")] > 0
        counts = np.zeros((len(is_counted), NUM_PACES), np.float32)
        user, column = is_counted.nonzero()
        pace = pace_of_bin(bin_of_gap(occurred.gap_s[user, column]))
        np.add.at(counts, (user, pace), 1)
        return counts

    def _behavior_probs(
        self,
        z: Tensor,
        seen: npt.NDArray[np.bool_],
        time_s: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float32]:
        """p(b) of the whole mixture, (U, V + private ids)."""
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
                location=past.place[u, first:],
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
        """Weights of the learned kernel, (U, C): each user's past and its query as a short log."""
        user, column = seen.nonzero()
        stop = (seen.sum(1) + 1).cumsum()
        query, past_row = stop - 1, np.arange(len(user)) + user

        def of_log(
            past: npt.NDArray[np.integer], asked: npt.NDArray[np.integer]
        ) -> npt.NDArray[np.int64]:
            values = np.empty(int(stop[-1]), np.int64)
            values[past_row], values[query] = past[user, column], asked
            return values

        none = np.zeros(len(seen), np.int64)
        behaviors = BehaviorLog.of_columns(
            user_start=np.append(0, stop),
            mapped_behavior=of_log(self.past.behavior, none),
            location=of_log(self.past.place, none),
            time_s=of_log(self.past.time_s, time_s),
            utc_offset_min=of_log(self.past.utc_offset_min, self.utc_offset_min),
            is_train=np.zeros(int(stop[-1]), bool),
            num_behaviors=self.num_candidates,
        )
        time_known = torch.full((len(seen),), self.model.config.query_context != "none")
        pairs = PastBehaviors(behaviors, z.device).pairs(torch.from_numpy(query), time_known)
        weights_UC = np.zeros(seen.shape, np.float32)
        weights_UC[user, column] = self.model.learned_kernel.weights(z, pairs)[0].numpy()
        return weights_UC

    def _place_probs(
        self,
        z: Tensor,
        event_U: Tensor,
        occurred: Occurrences,
        following: Occurrences,
        sight: "_Sight",
    ) -> npt.NDArray[np.float32]:
        """p(place) over the places of the store and of the vocabulary, (U, places)."""
        weights_KUC = place_weights(
            occurred,
            occurred.shifted(),
            occurred.at(np.s_[:, -1:]),
            following,
            sight.age,
            sight.seen,
            sight.has_before,
        )
        is_evidence = [name != "last" for name in PLACE_KERNELS]
        weights_KUC[is_evidence, :, self.first_generated :] = 0
        heads, event_vector = self.model.generation, self.model.event(event_U)
        context = torch.cat([z, event_vector], -1)
        gates, own_UC = _mixed(heads.place_gate, context, weights_KUC)
        network = heads.place_log_probs(z, event_vector, self.model.location).exp()
        probs = network.new_zeros(len(z), len(self.names.places))
        probs.index_add_(1, self.names.place_of_location, gates[:, :1] * network)
        return probs.scatter_add_(1, torch.from_numpy(self.past.place), own_UC).numpy()


def _mixed(
    gate: Callable[[Tensor, Tensor], Tensor],
    context: Tensor,
    weights_KUC: npt.NDArray[np.float32],
) -> tuple[Tensor, Tensor]:
    """Gates (U, 1 + K) of a mixture, and what its kernels give to each past behavior, (U, C)."""
    weights = torch.from_numpy(weights_KUC)
    evidence_UK = weights.sum(2).T
    gates = gate(context, evidence_UK).exp()
    scale = gates[:, 1:] / evidence_UK.clamp_min(1e-9)
    return gates, torch.einsum("uk,kuc->uc", scale, weights)


def _shifted(mask_UC: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether the column before each is set."""
    shifted = np.roll(mask_UC, 1, 1)
    shifted[:, 0] = False
    return shifted
