"""What the network keeps of each user's past: a bounded store that history can always rebuild."""

# D width, L layers, C cached events, H heads, E head width

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgebehave.bundle import Bundle
from edgebehave.rolling_history import RollingHistory

FloatArray = npt.NDArray[np.float32]


class _State(NamedTuple):
    """The network after the first `num_seen` events of a user.

    hidden  (D,) float32, what predictions are made from.
    cache   (2 L, C, H, E) float32, keys and values of the last C events, C < window.
    """

    num_seen: int
    hidden: FloatArray
    cache: FloatArray


class StreamStates:
    """States of the users asked about most recently, at most `max_states` of them.

    A state advances one event at a time, from nothing or from where it was left, and always
    through the same computations: each event is seen with the window - 1 events before it. A state
    that was dropped is made again from the last `receptive_field` events and is equal to the last
    bit, for what lies further back has no path to it.
    """

    def __init__(self, bundle: Bundle, max_states: int) -> None:
        if max_states < 1:
            raise ValueError(f"max_states must be at least 1, got {max_states}")
        self._bundle = bundle
        self._max_states = max_states
        self._states: OrderedDict[str, _State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def drop(self, user: str) -> None:
        """Forget a state, if there is one: its user is gone, or the past has changed."""
        self._states.pop(user, None)

    def hidden(self, user: str, history: RollingHistory) -> FloatArray:
        """State after the latest event, (D,) float32; the history must hold at least one."""
        receptive_field = self._bundle.shape.receptive_field
        state = self._states.pop(user, None)
        # With that many events to see, the way from nothing is as short and ends at the same bits.
        if state is None or history.count - state.num_seen >= receptive_field:
            num_seen = history.count - min(len(history), receptive_field)
            state = _State(num_seen, np.empty(0, np.float32), self._bundle.shape.empty_cache())
        state = self._advance(state, history)
        self._states[user] = state
        if len(self._states) > self._max_states:
            self._states.popitem(last=False)
        return state.hidden

    def _advance(self, state: _State, history: RollingHistory) -> _State:
        is_web = self._bundle.target == "web"
        num_kept = self._bundle.shape.window - 1
        num_new = history.count - state.num_seen
        new = history.latest(num_new)
        hidden, cache = state.hidden, state.cache
        for i in range(num_new):
            one = slice(i, i + 1)
            outputs = self._bundle.observe.run(
                ["hidden", "new_rows" if is_web else "new_cache"],
                {
                    "event": new.event[one],
                    "location": new.location[one],
                    "time_s": new.time_s[one],
                    "utc_offset_min": new.utc_offset_min[one],
                    "position": np.array(state.num_seen + i, np.int64),
                    "cache": cache,
                },
            )
            new_rows = [cache, outputs[1]]
            hidden = outputs[0][0]
            cache = np.concatenate(new_rows, axis=1)[:, -num_kept:] if is_web else outputs[1]
        return _State(history.count, hidden, cache)
