"""The histories of a log, played through the graphs of a bundle as a device would.

`Device` follows the contract of the bundle and nothing else: the gate checks the graphs and not the SDK. Names
that the vocabulary lacks get private ids, as on a device.
"""

# N events of a history, A targets, D width, C cached events, V behaviors, U spare slots

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.inference import open_graph
from edgebehave.bundles.model_shape import CACHE_PARTS, LOCATION_GRAPH, NEXT_GRAPH, WAIT_GRAPH
from edgebehave.habits import HABIT_EVENTS
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.model.behavior_model import ModelConfig

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
"""UTC seconds and offset in minutes."""


@dataclass(frozen=True, kw_only=True)
class ClientHistory:
    """The events of one user as a client sees them; all (N,) int64.

    location  ids of the vocabulary, or private ones from num_locations up.
    behavior  -1 none, 1..V-1 known, V and above the user's own, without an upper limit.
    """

    event: IntArray
    location: IntArray
    behavior: IntArray
    time_s: IntArray
    utc_offset_min: IntArray

    @classmethod
    def of_log(cls, log: MappedLog, user: int) -> "ClientHistory":
        rows = slice(log.user_start[user], log.user_start[user + 1])
        event, location, identity = (
            column[rows].astype(np.int64) for column in (log.event, log.location, log.location_identity)
        )
        vocabulary = log.vocabulary
        # Identity 0 is no location; any other that is unknown is a location of the user's own.
        is_own = (location == 0) & (identity != 0)
        return cls(
            event=np.where(event == 0, vocabulary.num_events, event),
            location=np.where(is_own, vocabulary.num_locations + identity, location),
            behavior=log.behavior[rows].astype(np.int64),
            time_s=log.time_s[rows].astype(np.int64),
            utc_offset_min=log.utc_offset_min[rows].astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.event)


class Device:
    """The graphs of a bundle, opened, and the work of a client around them."""

    def __init__(self, config: ModelConfig, graphs: Mapping[str, bytes]) -> None:
        self.config = config
        self._graphs = {name: open_graph(content) for name, content in graphs.items()}
        names = [given.name for given in self._graphs["observe.onnx"].get_inputs()]
        self._caches = [name for name in names if name.startswith(CACHE_PARTS)]

    @property
    def takes_many(self) -> bool:
        """True if one run may take many events: in the form for the web, not in the native one."""
        return not self._caches

    @property
    def generates(self) -> bool:
        return NEXT_GRAPH in self._graphs

    def stream(self, history: ClientHistory, start: int = 0) -> FloatArray:
        """States after each event from `start` on, (N - start, D), from an empty cache."""
        hidden_ND = np.empty((len(history) - start, self.config.width), np.float32)
        cache = self._empty_cache()
        for i in range(start, len(history)):
            step = self._append if self.takes_many else self._put
            hidden, cache = step(history, slice(i, i + 1), cache, i - start)
            hidden_ND[i - start] = hidden[0]
        return hidden_ND

    def rebuild(self, history: ClientHistory) -> FloatArray:
        """The last state (D,) as a device rebuilds it: from an event whose position is a multiple of the number
        of slots, at least a receptive field back."""
        num_slots = self.config.window - 1
        start = max(0, len(history) - self.config.receptive_field) // num_slots * num_slots
        last_D: FloatArray = self.stream(history, start)[-1]
        return last_D

    def prefill(self, history: ClientHistory, cut: int) -> FloatArray:
        """States after each event (N, D), in two runs: events before `cut`, and the rest."""
        first, cache = self._append(history, slice(0, cut), self._empty_cache(), 0)
        rest, _ = self._append(history, slice(cut, len(history)), cache, cut)
        return np.concatenate([first, rest])

    def _empty_cache(self) -> FloatArray:
        config = self.config
        shape: tuple[int, ...] = (2 * config.num_layers, 0, config.num_heads, config.head_width)
        if self._caches:
            shape = (len(self._caches), 1, config.num_heads, config.window, config.head_width)
        return np.zeros(shape, np.float32)

    def _append(
        self, history: ClientHistory, events: slice, cache: FloatArray, num_taken: int
    ) -> tuple[FloatArray, FloatArray]:
        """States after some events (N, D) and the last window - 1 rows of the cache.

        num_taken  events that the cache has seen.
        """
        inputs = self._event(history, events) | {"cache": cache}
        hidden, new_rows = self._graphs["observe.onnx"].run(["hidden", "new_rows"], inputs)
        return hidden, np.concatenate([cache, new_rows], axis=1)[:, -(self.config.window - 1) :]

    def _put(
        self, history: ClientHistory, events: slice, cache: FloatArray, num_taken: int
    ) -> tuple[FloatArray, FloatArray]:
        """`_append` for one event and a cache whose slots are a ring."""
        num_slots = self.config.window - 1
        num_cached = min(num_taken, num_slots)
        inputs = self._event(history, events) | {"num_cached": np.array(num_cached)}
        outputs = ["hidden", *(f"new_{name}" for name in self._caches)]
        inputs |= dict(zip(self._caches, cache, strict=True))
        hidden, *new = self._graphs["observe.onnx"].run(outputs, inputs)
        cache = np.stack(new)
        cache[..., num_taken % num_slots, :] = cache[..., num_cached, :]
        return hidden, cache

    def _event(self, history: ClientHistory, events: slice) -> dict[str, Any]:
        names = ("event", "location", "time_s", "utc_offset_min")
        return {name: getattr(history, name)[events] for name in names} | {"position": np.array(events.start)}

    def question(
        self,
        hidden_D: FloatArray,
        history: ClientHistory,
        at: int,
        moment: tuple[int, int] | None = None,
        tail: float = 0.0,
    ) -> dict[str, Any]:
        """Inputs of the graphs that answer for event `at` from the events before it, by name.

        moment  to ask for; None: not known.
        Raises ValueError if there is no behavior to look back on.
        """
        num_events = self.config.num_events
        seen = slice(max(0, at - HABIT_EVENTS), at)
        kept = np.flatnonzero(history.behavior[seen] >= 0) + seen.start
        if not len(kept):
            raise ValueError(f"no behavior among the last {HABIT_EVENTS} events")
        time_s, utc_offset_min = moment or (0, 0)
        behavior, _ = spare_slots(history.behavior[kept], self.config.num_behaviors, self.config.num_spare)
        identity = np.where(history.event < num_events, history.event, num_events + history.behavior)
        return {
            "hidden": hidden_D[None],
            "time_s": np.array([time_s]),
            "utc_offset_min": np.array([utc_offset_min]),
            "time_known": np.array([moment is not None], np.int64),
            "num_real": np.array(len(kept)),
            "event": identity[at : at + 1],
            "location": np.array([history.location[at] if at < len(history) else 0]),
            "tail": np.array(tail, np.float32),
            "history": np.stack([behavior, history.location[kept], history.time_s[kept], history.utc_offset_min[kept]]),
            "history_event": identity[kept],
        }

    def predict_inputs(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of predict.onnx, from a question."""
        return self._inputs_of("predict.onnx", question)

    def _inputs_of(self, graph: str, question: Mapping[str, Any]) -> dict[str, Any]:
        return {given.name: question[given.name] for given in self._graphs[graph].get_inputs()}

    def _run(self, graph: str, outputs: list[str], question: Mapping[str, Any]) -> Any:
        return self._graphs[graph].run(outputs, self._inputs_of(graph, question))

    def predict(self, question: Mapping[str, Any]) -> FloatArray:
        """probs (V + U,)."""
        probs: FloatArray = self._run("predict.onnx", ["probs"], question)[0]
        return probs

    def wait(self, question: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
        """Possible waiting times in seconds, and their probabilities."""
        gap_s, probs = self._run(WAIT_GRAPH, ["gap_s", "probs"], question)
        return gap_s, probs

    def next(self, question: Mapping[str, Any]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """probs (V + U,), event_scores (E,) and z (1, D), for the moment of the question."""
        probs, scores, z_1D = self._run(NEXT_GRAPH, ["probs", "event_scores", "z"], question)
        return probs, scores, z_1D

    def location(self, question: Mapping[str, Any], z_1D: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
        """Location of the event of the question: probabilities of the locations of the vocabulary (L,) and of those
        of the past (n,), and the ids of the latter."""
        known, copied = self._run(LOCATION_GRAPH, ["probs", "copied"], {**question, "z": z_1D})
        return known, copied, question["history"][1]


def spare_slots(behavior: IntArray, num_behaviors: int, num_spare: int) -> tuple[IntArray, list[int]]:
    """Behaviors of a history as candidates: the latest of the user's own get a slot.

    behavior  (n,) oldest first; num_behaviors and above are the user's own.
    Returns   (n,) ids below num_behaviors + num_spare, 0 where there was no slot left; and the
              behaviors that have one, in the order of the slots.
    """
    is_own = behavior >= num_behaviors
    owners = list(dict.fromkeys(behavior[is_own][::-1].tolist()))[:num_spare]
    slot = {own: num_behaviors + i for i, own in enumerate(owners)}
    candidates = behavior.copy()
    candidates[is_own] = [slot.get(own, 0) for own in behavior[is_own].tolist()]
    return candidates, owners


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A log, played on several devices.

    targets    to be predicted, each with a behavior within reach.
    histories  of the users of the log.
    devices    by precision, fp32 and perhaps int8.
    hidden     states of each device after each event of each history, (N, D).
    """

    log: MappedLog
    targets: Targets
    histories: list[ClientHistory]
    devices: Mapping[str, Device]
    hidden: Mapping[str, list[FloatArray]]

    @classmethod
    def of_log(cls, log: MappedLog, targets: Targets, devices: Mapping[str, Device]) -> "Replay":
        histories = [ClientHistory.of_log(log, user) for user in range(log.num_users)]
        hidden = {name: [device.stream(history) for history in histories] for name, device in devices.items()}
        return cls(log=log, targets=targets, histories=histories, devices=devices, hidden=hidden)

    @cached_property
    def asked(self) -> list[tuple[int, int]]:
        """User and position in the history of each target."""
        at = self.targets.event - self.log.user_start[self.targets.user]
        return list(zip(self.targets.user.tolist(), at.tolist(), strict=True))

    @cached_property
    def moments(self) -> tuple[IntArray, IntArray]:
        """UTC seconds and offset in minutes of each target, (A,).

        A joined history may step back in time: a target is never before the event before it.
        """
        event, time_s = self.targets.event, self.log.time_s
        asked_s = np.maximum(time_s[event], time_s[event - 1])
        return asked_s.astype(np.int64), self.log.utc_offset_min[event].astype(np.int64)

    def states(self, name: str) -> FloatArray:
        """State of a device before each target, (A, D)."""
        states = [self.hidden[name][user][at - 1] for user, at in self.asked]
        return np.array(states, np.float32).reshape(len(states), self.devices[name].config.width)

    def questions(self, name: str, timed: bool = True, tail: float = 0.0) -> Iterator[dict[str, Any]]:
        """`Device.question` of each target; timed: its moment is known."""
        moments = zip(*(column.tolist() for column in self.moments), strict=True)
        for (user, at), moment, state in zip(self.asked, moments, self.states(name), strict=True):
            asked_at = moment if timed else None
            yield self.devices[name].question(state, self.histories[user], at, asked_at, tail)

    def answers(self, name: str, timed: bool = True, tail: float = 0.0) -> FloatArray:
        """Probabilities of a device for the targets, (A, V + U)."""
        device, config = self.devices[name], self.devices[name].config
        probs = np.empty((len(self.targets), config.num_behaviors + config.num_spare), np.float32)
        for a, question in enumerate(self.questions(name, timed, tail)):
            probs[a] = device.predict(question)
        return probs
