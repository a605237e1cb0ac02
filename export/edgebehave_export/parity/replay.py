"""A device in a few lines: plays the histories of a log through the graphs of a bundle.

It follows the contract of the bundle and nothing else, so that the gate checks the graphs and not
the SDK around them. Names that the vocabulary lacks get private ids, as on a device.
"""

# N events of a history, A events asked for, D width, C cached events, V behaviors, U spare slots

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.bundle import CACHE_PARTS, LOCATION_GRAPH, NEXT_GRAPH, WAIT_GRAPH
from edgebehave.bundles.inference import open_graph
from edgebehave.habits import HABIT_EVENTS
from edgebehave_train.logs.mapped_log import MappedLog
from edgebehave_train.model.behavior_model import ModelConfig

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_LOCATION_ASKED = ("time_s", "utc_offset_min", "history", "num_real")


@dataclass(frozen=True, kw_only=True)
class History:
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
    def of_log(cls, log: MappedLog, user: int) -> "History":
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
    """The two graphs of a bundle, opened, and what a client does around them."""

    def __init__(self, config: ModelConfig, graphs: Mapping[str, bytes]) -> None:
        self.config = config
        self._observe = open_graph(graphs["observe.onnx"])
        self._predict = open_graph(graphs["predict.onnx"])
        self._wait = open_graph(graphs[WAIT_GRAPH]) if WAIT_GRAPH in graphs else None
        self.generates = NEXT_GRAPH in graphs
        if self.generates:
            self._next, self._location = (open_graph(graphs[n]) for n in (NEXT_GRAPH, LOCATION_GRAPH))
        self._predict_inputs = {given.name for given in self._predict.get_inputs()}
        self._caches = [
            name for name in (given.name for given in self._observe.get_inputs()) if name.startswith(CACHE_PARTS)
        ]

    @property
    def takes_many(self) -> bool:
        """Whether one run may take many events: the form for the web does, the native one not."""
        return not self._caches

    def stream(self, history: History, start: int = 0) -> FloatArray:
        """States after each event from `start` on, (N - start, D), from an empty cache."""
        hidden_ND = np.empty((len(history) - start, self.config.width), np.float32)
        cache = self._empty_cache()
        for i in range(start, len(history)):
            step = self._append if self.takes_many else self._put
            hidden, cache = step(history, slice(i, i + 1), cache, i, i - start)
            hidden_ND[i - start] = hidden[0]
        return hidden_ND

    def rebuild(self, history: History) -> FloatArray:
        """The last state (D,) as a device makes it anew: from a multiple of the number of slots
        that lies at least a receptive field back."""
        num_slots = self.config.window - 1
        start = max(0, len(history) - self.config.receptive_field) // num_slots * num_slots
        last_D: FloatArray = self.stream(history, start)[-1]
        return last_D

    def prefill(self, history: History, cut: int) -> FloatArray:
        """States after each event (N, D), in two runs: events before `cut`, and the rest."""
        first, cache = self._append(history, slice(0, cut), self._empty_cache(), 0, 0)
        rest, _ = self._append(history, slice(cut, len(history)), cache, cut, cut)
        return np.concatenate([first, rest])

    def _empty_cache(self) -> FloatArray:
        config = self.config
        shape: tuple[int, ...] = (2 * config.num_layers, 0, config.num_heads, config.head_width)
        if self._caches:
            shape = (len(self._caches), 1, config.num_heads, config.window, config.head_width)
        return np.zeros(shape, np.float32)

    def _append(
        self, history: History, events: slice, cache: FloatArray, position: int, num_taken: int
    ) -> tuple[FloatArray, FloatArray]:
        """States after some events (N, D) and the last window - 1 rows of the cache.

        position   how many events of the user came before.
        num_taken  how many of them the cache has seen.
        """
        hidden, new_rows = self._observe.run(
            ["hidden", "new_rows"], self._event(history, events, position) | {"cache": cache}
        )
        kept = np.concatenate([cache, new_rows], axis=1)[:, -(self.config.window - 1) :]
        return hidden, kept

    def _put(
        self, history: History, events: slice, cache: FloatArray, position: int, num_taken: int
    ) -> tuple[FloatArray, FloatArray]:
        """The same for one event and a cache whose slots are a ring."""
        num_slots = self.config.window - 1
        num_cached = min(num_taken, num_slots)
        inputs = self._event(history, events, position) | {"num_cached": np.array(num_cached)}
        outputs = ["hidden", *(f"new_{name}" for name in self._caches)]
        hidden, *new = self._observe.run(outputs, inputs | dict(zip(self._caches, cache, strict=True)))
        cache = np.stack(new)
        cache[..., num_taken % num_slots, :] = cache[..., num_cached, :]
        return hidden, cache

    def _event(self, history: History, events: slice, position: int) -> dict[str, Any]:
        return {
            "event": history.event[events],
            "location": history.location[events],
            "time_s": history.time_s[events],
            "utc_offset_min": history.utc_offset_min[events],
            "position": np.array(position),
        }

    def predict_inputs(
        self,
        hidden_D: FloatArray,
        history: History,
        at: int,
        moment: tuple[int, int] | None,
        tail: float = 0.0,
    ) -> dict[str, Any]:
        """What the predict graph takes to predict event `at` from the events before it.

        moment  UTC seconds and offset in minutes to ask for; None: not known.
        tail    position of the dial, 0..1.
        Raises ValueError if there is no behavior to look back on.
        """
        inputs = self._inputs(hidden_D, history, at, moment, tail)
        return {name: inputs[name] for name in self._predict_inputs}

    def _inputs(
        self,
        hidden_D: FloatArray,
        history: History,
        at: int,
        moment: tuple[int, int] | None,
        tail: float,
    ) -> dict[str, Any]:
        """What any of the graphs that answer a question may take."""
        config = self.config
        seen = slice(max(0, at - HABIT_EVENTS), at)
        kept = np.flatnonzero(history.behavior[seen] >= 0) + seen.start
        if not len(kept):
            raise ValueError(f"no behavior among the last {HABIT_EVENTS} events")
        time_s, utc_offset_min = moment or (0, 0)
        location = history.location[at] if at < len(history) else 0
        return {
            "hidden": hidden_D[None],
            "time_s": np.array([time_s]),
            "utc_offset_min": np.array([utc_offset_min]),
            "time_known": np.array([moment is not None], np.int64),
            "num_real": np.array(len(kept)),
            "location": np.array([location]),
            "tail": np.array(tail, np.float32),
            "history": np.stack(
                [
                    spare_slots(history.behavior[kept], config.num_behaviors, config.num_spare)[0],
                    history.location[kept],
                    history.time_s[kept],
                    history.utc_offset_min[kept],
                ]
            ),
        }

    def predict(self, inputs: Mapping[str, Any]) -> FloatArray:
        """probs (V + U,)."""
        probs: FloatArray = self._predict.run(["probs"], dict(inputs))[0]
        return probs

    def wait(self, hidden_D: FloatArray, history: History, at: int) -> tuple[FloatArray, FloatArray]:
        """Possible waiting times before event `at`, in seconds, and their probabilities."""
        assert self._wait is not None
        given = self._inputs(hidden_D, history, at, None, 0.0)
        asked = {name: given[name] for name in ("hidden", "history", "num_real")}
        gap_s, probs = self._wait.run(["gap_s", "probs"], asked)
        return gap_s, probs

    def next(
        self, hidden_D: FloatArray, history: History, at: int, moment: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """probs (V + U,), event_scores (E,) and z (1, D) for event `at`, if it comes then."""
        asked = self._inputs(hidden_D, history, at, moment, 0.0)
        wanted = [given.name for given in self._next.get_inputs()]
        inputs = {name: asked[name] for name in wanted}
        probs, scores, z_1D = self._next.run(["probs", "event_scores", "z"], inputs)
        return probs, scores, z_1D

    def location(self, z_1D: FloatArray, history: History, at: int) -> tuple[FloatArray, FloatArray, IntArray]:
        """Where event `at` happens: probabilities of the locations of the vocabulary (L,) and of those
        of the past (n,), and which locations the latter are."""
        moment = int(history.time_s[at]), int(history.utc_offset_min[at])
        asked = self._inputs(z_1D[0], history, at, moment, 0.0)
        seen = slice(max(0, at - HABIT_EVENTS), at)
        kept = np.flatnonzero(history.behavior[seen] >= 0) + seen.start
        num_events = self.config.num_events
        own = num_events + history.behavior
        identity = np.where(history.event < num_events, history.event, own)
        inputs = {
            "z": z_1D,
            "event": identity[at : at + 1],
            "history_event": identity[kept],
            **{name: asked[name] for name in _LOCATION_ASKED},
        }
        known, copied = self._location.run(["probs", "copied"], inputs)
        return known, copied, history.location[kept]


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
