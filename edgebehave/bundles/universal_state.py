"""The universal model's answer for one user: past success, kept from event to event, and a prediction from it."""

# n events of the past, C candidates, M rows of success, S columns of success

import numpy as np
import numpy.typing as npt

from edgebehave.answers.question import Question
from edgebehave.bundles.bundle import Combination
from edgebehave.bundles.universal_bundle import UniversalBundle, day_and_second
from edgebehave.bundles.universal_graph import UniversalGraph
from edgebehave.histories.mapped_history import MappedHistory, dict_bytes
from edgebehave.moments import Moment
from edgebehave.vocabulary import UNKNOWN

FloatArray = npt.NDArray[np.float32]

_LEAST = np.float32(1e-12)
"""A name that was used is a candidate, however unlikely."""

_NO_USER: FloatArray = np.empty(0, np.float32)

_MAX_NUMBERS = 4096
"""Different names, or locations, that a state numbers before it begins anew: float32 holds whole numbers up to 2^24."""


class UserState:
    """What the graph reads of one user, and how well the kernels predicted the user's latest events.

    bundle    whose graph computed the rows.
    num_seen  events of the user, retained or not, that the state has taken in.
    success   (M - 1, S) float32 rows of the events before the last one, the latest last; zeros where there is none.
    row       of the last event; None: not computed yet.
    last_of   name, as of `_name` -> number of the event in which it came last, within reach; the latest last.
    """

    def __init__(self, bundle: UniversalBundle, num_seen: int) -> None:
        shape = bundle.shape
        self.bundle = bundle
        self.num_seen = num_seen
        self.success: FloatArray = np.zeros((shape.success_events - 1, shape.success_columns), np.float32)
        self.row: FloatArray | None = None
        self.last_of: dict[int, int] = {}
        self._shape = shape
        self._columns = np.zeros((4, 2 * shape.read_events), np.float32)
        self._stop = 0
        self._names: dict[int, int] = {}
        self._locations: dict[int, int] = {0: 0}

    @property
    def past_4n(self) -> FloatArray:
        """The latest events as the graph takes them; a view."""
        return self._columns[:, max(0, self._stop - self._shape.read_events) : self._stop]

    @property
    def num_bytes(self) -> int:
        """Memory of the state."""
        tables = sum(map(dict_bytes, (self.last_of, self._names, self._locations)))
        row_bytes = 0 if self.row is None else self.row.nbytes
        return self.success.nbytes + self._columns.nbytes + tables + row_bytes

    @property
    def is_worn(self) -> bool:
        """Whether it is time to begin anew."""
        return max(len(self._names), len(self._locations)) > _MAX_NUMBERS

    def append(self, name: int, location: int, time_s: int, utc_offset_min: int) -> None:
        """Take in the next event."""
        if self.row is not None:
            self.success[:-1] = self.success[1:]
            self.success[-1] = self.row
            self.row = None
        if self._stop == self._columns.shape[1]:
            kept = self.past_4n.copy()
            self._stop = kept.shape[1]
            self._columns[:, : self._stop] = kept
        number = self._names.setdefault(name, len(self._names) + 1)
        place = self._locations.setdefault(location, len(self._locations))
        self._columns[:, self._stop] = number, place, *day_and_second(time_s, utc_offset_min)
        self._stop += 1
        self.last_of.pop(name, None)
        self.last_of[name] = self.num_seen
        self.num_seen += 1
        # One event leaves the reach with each that comes, and with it at most one name: that used longest ago.
        oldest = next(iter(self.last_of))
        if self.last_of[oldest] < self.num_seen - self._shape.lookback:
            del self.last_of[oldest]

    def last(self) -> list[int]:
        """Where each name came last, -1 for the last event; the latest first."""
        return [number - self.num_seen for number in reversed(self.last_of.values())]


def latest_success(graph: UniversalGraph, known: MappedHistory) -> UserState:
    """The state after the latest event of a user, with the rows of all events before it.

    A row depends on its event and on the `lookback` + `num_before` retained ones before it, nothing else. These are
    retained for each of the last `success_events` events, so a state that is made anew is equal to the last bit.

    Safe for several threads, as long as no two ask about the same user at once.
    """
    shape, events = graph.bundle.shape, known.events
    oldest = events.count - len(events)
    first = max(oldest, events.count - shape.success_events)
    state: UserState | None = known.name_free_state
    known.name_free_state = None  # a run that fails leaves no half-advanced state behind
    # A user may come to be answered by the model of the package in the place of that of a bundle, or back.
    is_other = state is not None and state.bundle is not graph.bundle
    if state is None or is_other or not first < state.num_seen <= events.count or state.is_worn:
        # All that the first of the rows depends on, though none of the earlier rows.
        state = UserState(graph.bundle, max(oldest, first - shape.lookback - shape.num_before))
    for event, behavior, location, time_s, utc_offset_min in events.rows(events.count - state.num_seen):
        if state.num_seen > first and state.row is None:
            _, state.row = graph.run(state.past_4n, None, state.last(), state.success)
        state.append(_name(event, behavior), location, time_s, utc_offset_min)
    known.name_free_state = state
    return state


def _name(event: int, behavior: int) -> int:
    """The identity of what happened: the behavior, or, below 0, a known event that is none of the behaviors."""
    return behavior if behavior > UNKNOWN else -1 - event


def universal_probs(
    graph: UniversalGraph, known: MappedHistory | None, moment: Moment | None
) -> tuple[list[str], FloatArray]:
    """The names that a user has used within reach, most recently used first, and their probabilities.

    known   the user; None: unknown.
    moment  of the next behavior; None: unknown.
    Returns  C names and (C,) float32; what is missing to 1 is the probability of any other name.
    """
    if known is None or not len(known.events):
        return [], _NO_USER
    names, probs = _answer(graph, known, moment)
    return [known.behavior_name(name) for name in names], probs


def combined_probs(
    graph: UniversalGraph,
    combination: Combination,
    known: MappedHistory,
    question: Question,
    named: FloatArray,
    tail: float,
) -> FloatArray:
    """The answer of a named model together with its lookup, calibrated, (V + U,) float32.

    graph  of the lookup.
    known  has at least one event, and only events that have a behavior.
    named  (V + U,) the answer of predict.onnx.
    """
    past = known.events.past(question.past.shape[1])[0]
    column_of = dict(zip(past.tolist(), question.past[0].tolist(), strict=True))
    names, probs = _answer(graph, known, question.moment)
    own = np.zeros(len(named), np.float32)
    own[[column_of[name] for name in names]] = np.maximum(probs, _LEAST)
    own[UNKNOWN] = 0  # names of the user's own that have no slot
    combined = combination.shift.apply(combination.powers.combine(named, own), tail)
    return combined.astype(np.float32)


def _answer(graph: UniversalGraph, known: MappedHistory, moment: Moment | None) -> tuple[list[int], FloatArray]:
    """The ids of the behaviors within reach, most recently used first, and their probabilities, (C,)."""
    state = latest_success(graph, known)
    question = moment and day_and_second(*moment)
    known.name_free_state = None
    probs, state.row = graph.run(state.past_4n, question, state.last(), state.success)
    known.name_free_state = state
    names = list(reversed(state.last_of))
    probs = probs[:-1]
    if min(names) < 0:
        # Events that are none of the behaviors come, but they are never what is predicted.
        is_behavior = np.array(names) > 0
        probs = probs[is_behavior] / (1 - probs[~is_behavior].sum())
        names = [name for name in names if name > 0]
    return names, probs
