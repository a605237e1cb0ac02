"""What the network keeps of each user's past: a bounded store that history can always rebuild."""

# D width, I window, S = I - 1 slots, R receptive field

import threading
from collections import OrderedDict
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.network_state import NetworkState, empty_state, state_bytes

FloatArray = npt.NDArray[np.float32]


class History(Protocol):
    """The retained events of a user, `len` of them, and how many there ever were."""

    @property
    def count(self) -> int: ...

    def __len__(self) -> int: ...

    def rows(self, num_events: int) -> list[list[int]]: ...


class StreamStates:
    """States of the users asked about most recently, in at most `max_bytes` of memory.

    A state advances one event at a time, from its origin or from where it was left. A state that
    was dropped is made again from the retained events, and is equal to the last bit: it begins far
    enough back that nothing before has a path to it, at a multiple of S, so that every event falls
    into the slot that it would have had. Where events are retained by age and fewer of them than
    that remain, a state begins at the oldest of them, whatever it was before.

    Safe for several threads, as long as no two ask about the same user at once.
    """

    def __init__(self, bundle: Bundle, max_bytes: int) -> None:
        """Room for at least one state, however small `max_bytes`."""
        self._bundle = bundle
        self.capacity = max(1, max_bytes // state_bytes(bundle))
        self._states: OrderedDict[str, NetworkState] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def drop(self, user: str) -> None:
        """Forget a state, if there is one: its user is gone, or the past has changed."""
        with self._lock:
            self._states.pop(user, None)

    def hidden(self, user: str, history: History) -> FloatArray:
        """State after the latest event, (1, D) float32; the history must hold at least one.

        It is overwritten when the user's state advances.
        """
        return self._latest(user, history).hidden

    def copy(self, user: str, history: History) -> NetworkState:
        """The state after the latest event, to go its own way; history as in `hidden`."""
        return self._latest(user, history).copy()

    def _latest(self, user: str, history: History) -> NetworkState:
        with self._lock:
            state = self._states.pop(user, None)
        origin = self._origin(history)
        if state is None or not self._serves(state, origin, history):
            state = empty_state(self._bundle, origin)
        for event, _, location, time_s, offset_min in history.rows(history.count - state.num_seen):
            state.step(event, location, time_s, offset_min)
        with self._lock:
            self._states[user] = state
            while len(self._states) > self.capacity:
                self._states.popitem(last=False)
        return state

    def _origin(self, history: History) -> int:
        """Number of the event at which a state that is made now begins."""
        shape = self._bundle.shape
        first_retained = history.count - len(history)
        num_slots = shape.window - 1
        far_enough = max(0, history.count - shape.receptive_field) // num_slots * num_slots
        return max(far_enough, first_retained)

    def _serves(self, state: NetworkState, origin: int, history: History) -> bool:
        """Whether a state, advanced, equals one that begins at `origin`, and sooner gets there."""
        if state.num_seen > history.count or origin >= state.num_seen:
            return False
        num_slots = self._bundle.shape.window - 1
        in_step = (origin - state.origin) % num_slots == 0
        nothing_lost = origin == state.origin or (
            state.origin < origin <= history.count - self._bundle.shape.receptive_field
        )
        return in_step and nothing_lost
