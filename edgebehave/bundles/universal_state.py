"""The universal model's answer for one user: past success, kept from event to event, and a prediction from it."""

# n events of the past, C candidates, M rows of success, K + 1 columns of success

from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.answers.question import Question
from edgebehave.bundles.bundle import LookupPart
from edgebehave.bundles.inference import run_graph
from edgebehave.bundles.model_shape import PREDICT_GRAPH
from edgebehave.bundles.probe import check_probabilities
from edgebehave.bundles.universal_bundle import UniversalBundle, UniversalShape
from edgebehave.histories.mapped_history import MappedHistory
from edgebehave.moments import Moment
from edgebehave.vocabulary import UNKNOWN

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_LEAST = np.float32(1e-12)
"""A name that was used is a candidate, however unlikely."""

_NO_USER: FloatArray = np.empty(0, np.float32)


class SuccessState:
    """How well the kernels predicted the latest events of a user.

    rows      (M, K + 1) float32, of the events before number `num_seen`, the latest last; zeros where there is none.
    num_seen  events of the user, retained or not, up to which the rows reach.
    """

    def __init__(self, shape: UniversalShape, num_seen: int) -> None:
        self.rows: FloatArray = np.zeros((shape.success_events, shape.success_columns), np.float32)
        self.num_seen = num_seen


def latest_success(bundle: UniversalBundle, known: MappedHistory) -> SuccessState:
    """The state after the latest event of a user.

    A row depends on its event and on the `lookback` + `num_before` retained ones before it, nothing else. These are
    retained for each of the last `success_events` events, so a state that is made anew is equal to the last bit.

    Safe for several threads, as long as no two ask about the same user at once.
    """
    shape, events = bundle.shape, known.events
    first = max(events.count - len(events), events.count - shape.success_events)
    state: SuccessState | None = known.success_state
    known.success_state = None  # a run that fails leaves no half-advanced state behind
    if state is None or not first <= state.num_seen <= events.count:
        state = SuccessState(shape, first)
    num_new = events.count - state.num_seen
    if num_new:
        past_4n = events.past(len(events))
        ends = range(len(events) - num_new, len(events))
        rows = np.stack([_success(bundle, past_4n[:, : end + 1]) for end in ends])
        state.rows = np.concatenate([state.rows, rows])[-shape.success_events :]
        state.num_seen = events.count
    known.success_state = state
    return state


def _success(bundle: UniversalBundle, past_4n: IntArray) -> FloatArray:
    """The row of the last of some events, (K + 1,)."""
    shape = bundle.shape
    if past_4n.shape[1] == 1:  # the first event is new, and no kernel has anything to predict it from
        first: FloatArray = np.eye(1, shape.success_columns, shape.success_columns - 1, dtype=np.float32)[0]
        return first
    read_4n = past_4n[:, -(shape.lookback + shape.num_before + 1) :]
    row: FloatArray = run_graph(bundle.observe, ["success"], {"history": np.ascontiguousarray(read_4n)})[0]
    return row


def universal_probs(
    bundle: UniversalBundle, known: MappedHistory | None, moment: Moment | None
) -> tuple[list[str], FloatArray]:
    """The names that a user has used within reach, most recently used first, and their probabilities.

    known   the user; None: unknown.
    moment  of the next behavior; None: unknown.
    Returns  C names and (C,) float32; what is missing to 1 is the probability of any other name.
    """
    if known is None or not len(known.events):
        return [], _NO_USER
    ids, probs = _probs_of_ids(bundle, known, moment)
    return [known.own_behaviors.name_of(name) for name in ids], probs


def combined_probs(
    lookup: LookupPart, known: MappedHistory, question: Question, named: FloatArray, tail: float
) -> FloatArray:
    """The answer of a named model together with its lookup, calibrated, (V + U,) float32.

    known  has at least one event.
    named  (V + U,) the answer of predict.onnx.
    """
    own = np.zeros(len(named), np.float32)
    past = known.events.past(question.past.shape[1])[0]
    column_of = dict(zip(past.tolist(), question.past[0].tolist(), strict=True))
    ids, probs = _probs_of_ids(lookup.graphs, known, question.moment)
    own[[column_of[name] for name in ids]] = np.maximum(probs, _LEAST)
    own[UNKNOWN] = 0
    combined: FloatArray = lookup.shift.apply(lookup.powers.combine(named, own), tail).astype(np.float32)
    return combined


def _probs_of_ids(bundle: UniversalBundle, known: MappedHistory, moment: Moment | None) -> tuple[list[int], FloatArray]:
    """The ids of the behaviors within reach, most recently used first, and their probabilities."""
    shape = bundle.shape
    success_MK = latest_success(bundle, known).rows
    past_4n = known.events.past(shape.lookback + shape.num_before)
    ids = list(dict.fromkeys(past_4n[0, ::-1][: shape.lookback].tolist()))
    time_s, utc_offset_min = moment or (0, 0)
    inputs: dict[str, npt.NDArray[Any]] = {
        "history": np.ascontiguousarray(past_4n),
        "ids": np.array(ids, np.int64),
        "success": success_MK,
        "time_s": np.array([time_s]),
        "utc_offset_min": np.array([utc_offset_min]),
        "time_known": np.array([int(moment is not None)]),
    }
    (probs,) = run_graph(bundle.predict, ["probs"], inputs)
    check_probabilities(probs, PREDICT_GRAPH)
    return ids, probs[:-1]
