"""The state of the network after some events of one user: observe.onnx advances it by one event."""

# D width, L layers, I window, S = I - 1 slots, C cached events, H heads, E head width, R receptive field

import copy
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.inference import BoundGraph, run_graph
from edgebehave.histories.mapped_history import MappedHistory
from edgebehave.histories.rolling_events import RollingEvents

FloatArray = npt.NDArray[np.float32]


class NetworkState(Protocol):
    """The state after events `origin` to `num_seen` - 1 of a user, taken in one after the other.

    hidden  (1, D) float32, the input of predictions; overwritten by the next step.
    """

    origin: int
    num_seen: int
    hidden: FloatArray

    @property
    def num_bytes(self) -> int:
        """Memory of the state."""

    def step(self, event: int, location: int, time_s: int, utc_offset_min: int) -> None:
        """Take in the next event: ids, UTC seconds, and minutes to add for local time."""

    def copy(self) -> "NetworkState":
        """An equal state; a step of one does not change the other."""


def latest_state(bundle: Bundle, known: MappedHistory) -> NetworkState:
    """The state after the latest event of a user; there must be an event.

    The user's state advances one event at a time, from the event that it has reached. A user without a
    state gets a new one from the retained events, equal to the last bit: it begins so far back that no
    earlier event has a path to its end, and at a multiple of S, so that every event falls into the same
    slot. If events were dropped by age and fewer than that are left, the state begins at the oldest of them.

    Safe for several threads, as long as no two ask about the same user at once.
    """
    events, num_slots = known.events, bundle.shape.window - 1
    far_enough = max(0, events.count - bundle.shape.receptive_field) // num_slots * num_slots
    origin = max(far_enough, events.count - len(events))
    state: NetworkState | None = known.network_state
    known.network_state = None  # a step that fails leaves no half-advanced state behind
    if state is None or not _reaches(state, origin, events, bundle):
        state = empty_state(bundle, origin)
    for event, _, location, time_s, offset_min in events.rows(events.count - state.num_seen):
        state.step(event, location, time_s, offset_min)
    known.network_state = state
    return state


def _reaches(state: NetworkState, origin: int, events: RollingEvents, bundle: Bundle) -> bool:
    """True if a state, advanced, equals a new one that begins at `origin`, and needs fewer steps."""
    if state.num_seen > events.count or origin >= state.num_seen:
        return False
    in_step = (origin - state.origin) % (bundle.shape.window - 1) == 0
    nothing_lost = origin == state.origin or (state.origin < origin <= events.count - bundle.shape.receptive_field)
    return in_step and nothing_lost


def empty_state(bundle: Bundle, origin: int) -> NetworkState:
    """The state before event number `origin`, with nothing in the cache."""
    return CacheState(bundle, origin) if bundle.target == "web" else RingState(bundle, origin)


_BINDING_BYTES = 8_000
"""Memory of what ONNX Runtime keeps of the arrays that are bound to a graph."""


class RingState:
    """The state for native graphs: keys and values are not moved, and each event takes a slot.

    Event i (from `origin`) ends up in slot i % S of every layer. So two states are equal to the last bit
    if their origins differ by a multiple of S and lie far enough back.
    """

    def __init__(self, bundle: Bundle, origin: int) -> None:
        shape = bundle.shape
        self._bundle = bundle
        self.origin = self.num_seen = origin
        self.hidden: FloatArray = np.zeros((1, shape.width), np.float32)
        self._num_slots = shape.window - 1
        self._cache: FloatArray = np.zeros(
            (2 * shape.num_layers, 1, shape.num_heads, shape.window, shape.head_width), np.float32
        )
        self._numbers = np.zeros((6, 1), np.int64)
        event, location, time_s, utc_offset_min, position, num_cached = self._numbers
        caches = dict(zip(shape.cache_names(), self._cache, strict=True))
        inputs = {"event": event, "location": location, "time_s": time_s, "utc_offset_min": utc_offset_min}
        inputs |= {"position": position.reshape(()), "num_cached": num_cached.reshape(())}
        outputs = {f"new_{name}": cache for name, cache in caches.items()}
        self._graph = BoundGraph(bundle.observe, {**inputs, **caches}, {"hidden": self.hidden, **outputs})

    @property
    def num_bytes(self) -> int:
        return self._cache.nbytes + self.hidden.nbytes + _BINDING_BYTES

    def step(self, event: int, location: int, time_s: int, utc_offset_min: int) -> None:
        num_taken, num_slots = self.num_seen - self.origin, self._num_slots
        num_cached = min(num_taken, num_slots)
        self._numbers[:, 0] = event, location, time_s, utc_offset_min, self.num_seen, num_cached
        self._graph.run()
        if num_cached == num_slots:
            # The graph wrote into the one free slot; the event replaces the oldest.
            self._cache[..., num_taken % num_slots, :] = self._cache[..., num_slots, :]
        self.num_seen += 1

    def copy(self) -> "RingState":
        copied = RingState(self._bundle, self.origin)
        copied.num_seen = self.num_seen
        copied.hidden[:] = self.hidden
        copied._cache[:] = self._cache
        return copied


class CacheState:
    """The state for web graphs, which return the new keys and values: the last S events, oldest first."""

    def __init__(self, bundle: Bundle, origin: int) -> None:
        shape = bundle.shape
        self.origin = self.num_seen = origin
        self.hidden: FloatArray = np.zeros((1, shape.width), np.float32)
        self._observe, self._num_kept = bundle.observe, shape.window - 1
        self._cache = shape.empty_cache()

    @property
    def num_bytes(self) -> int:
        return self._cache.nbytes + self.hidden.nbytes

    def step(self, event: int, location: int, time_s: int, utc_offset_min: int) -> None:
        inputs = {
            "event": np.array([event]),
            "location": np.array([location]),
            "time_s": np.array([time_s]),
            "utc_offset_min": np.array([utc_offset_min]),
            "position": np.array(self.num_seen),
            "cache": self._cache,
        }
        self.hidden, new_rows = run_graph(self._observe, ["hidden", "new_rows"], inputs)
        self._cache = np.concatenate([self._cache, new_rows], axis=1)[:, -self._num_kept :]
        self.num_seen += 1

    def copy(self) -> "CacheState":
        return copy.copy(self)  # a step replaces its arrays
