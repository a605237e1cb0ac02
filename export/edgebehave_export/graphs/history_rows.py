"""Rows over the history of a user, a column per behavior, of which kernels and cues are sums.

Nodes for predict.onnx. For one user a node costs as much as the numbers in it, so there are few nodes:

    times         of the history and, behind it, of the moment to predict for, in one pass.
    coincidences  one convolution over three comparisons.
    calendar      the half hour of the week, looked up in a table of distances to every other.
    kernels       rows, or exponentials of sums of rows: a coincidence adds 0, a missing one -256, whose
                  exponential is 0.
"""

# n behaviors of a history, m = n + 1 moments, R rows, X exponentials, Z = R + 4 + X rows that cues
# are made of, F cues

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from edgebehave.habits import (
    DECAY,
    FIRST_WEEKEND_DAY,
    GAP_UNIT_S,
    GAP_WIDTH,
    HABIT_EVENTS,
    HOUR_WIDTH,
    MOMENT_WIDTH,
)
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS
from edgebehave_export.graphs.clock import weekdays_and_slots
from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_train.kernels.cues import CLOCK_WIDTHS, CUES, GAP_WIDTHS

FloatArray = npt.NDArray[np.float32]

NEVER = -256.0
"""An exponent, the exponential of which is 0."""
_FOR_EVER_S = 2**40

_AGE_ROWS = ("latest", "age", "frequency", "recency")
_SAME_ROWS = ("transition", "second_order", "location", "repeat", "at_location", "alternation")
_LOG_ROWS = ("waited", "elapsed")
_APART_ROWS = ("gap_apart", "elapsed_apart")  # the second of these comes with the first
_SQUARE_ROWS = ("gap_apart_squared", "elapsed_apart_squared")
_CALENDAR_ROWS = ("half_hours_squared", "other_weekday", "other_day_type", "time_unknown")
_ROWS = _AGE_ROWS + _SAME_ROWS + _SQUARE_ROWS + _CALENDAR_ROWS
"""Rows that exponents are sums of; some are kernels themselves."""


def _clock(width: float) -> dict[str, float]:
    return {"half_hours_squared": -0.5 / width**2, "time_unknown": NEVER}


def _gap(width: float) -> dict[str, float]:
    return {"gap_apart_squared": -0.5 / width**2, "time_unknown": NEVER}


def _only(row: str) -> dict[str, float]:
    return {"frequency": NEVER, row: -NEVER}


_AT_MOMENT = _clock(MOMENT_WIDTH) | _gap(GAP_WIDTH)
_EXPONENTS: Mapping[str, Mapping[str, float]] = {
    # Kernels of `edgebehave.habits`.
    "hour": {"other_day_type": NEVER, **_clock(HOUR_WIDTH)},
    "transition_moment": _only("transition") | _AT_MOMENT,
    "location_moment": _only("location") | _AT_MOMENT,
    # Cues of `edgebehave_train.kernels.cues`.
    **{f"clock_{width:.0f}": _clock(width) for width in CLOCK_WIDTHS},
    **{name: _gap(of) for name, of in zip(("gap_narrow", "gap_wide"), GAP_WIDTHS, strict=True)},
}
_EXPONENTIAL_KERNELS = 3
CUE_ROWS = (*_ROWS, *_LOG_ROWS, *_APART_ROWS, *_EXPONENTS)
"""Rows that the cues are sums of."""
_CUES: Mapping[str, Mapping[str, float]] = {  # factors of rows, for cues that are no row
    "same_last": {"transition": 1.0},
    "same_last_two": {"second_order": 1.0},
    "same_location": {"location": 1.0},
    "weekday": {"frequency": 1.0, "other_weekday": -1.0},
    "day_type": {"frequency": 1.0, "other_day_type": -1.0},
    "wait": {"waited": 1.0, "gap_apart": -1.0},
    "time_known": {"frequency": 1.0, "time_unknown": -1.0},
}


class HistoryRows(NamedTuple):
    """Values of the graph with a column per behavior of the history, to be stacked.

    weights  rows as in `weight_rows`.
    cues     rows as in CUE_ROWS.
    """

    weights: tuple[str, ...]
    cues: tuple[str, ...]


def history_rows(
    graph: GraphBuilder,
    times_1m: str,
    half_hours_1m: str,
    moment: str,
    *,
    time_known: str,
    learned_kernel: bool,
) -> HistoryRows:
    """The rows of the input `history`.

    times       UTC seconds of the behaviors and, behind them, of the moment to predict for.
    half_hours  numbers 0..335 of the half hours in which these lie.
    moment      (1,) that of the moment plus one; 0 for one that is not known.
    time_known  (1,) int64, 0 or 1; "" for a graph in which no moment is known.
    """
    calendar_4n = _calendar(graph, half_hours_1m, moment)
    ages_4n, same_6n = _ages(graph), _coincidences(graph)
    logs_2n, apart_2n, squared_2n = _waits(graph, times_1m, time_known)
    rows_Rn = graph.Concat(ages_4n, same_6n, squared_2n, calendar_4n, axis=0)
    exponents = [_row_vector(factor_of, _ROWS) for factor_of in _exponents(learned_kernel).values()]
    exponentials_Xn = graph.Exp(graph.MatMul(graph.floats(exponents, "exponents"), rows_Rn))
    return HistoryRows(
        weights=(ages_4n, same_6n, exponentials_Xn),
        cues=(rows_Rn, logs_2n, apart_2n, exponentials_Xn),
    )


def weight_rows(learned_kernel: bool) -> tuple[str, ...]:
    """Rows that may be weights: the habit kernels are among them."""
    return (*_AGE_ROWS, *_SAME_ROWS, *_exponents(learned_kernel))


def rows_of_cues() -> FloatArray:
    """Factors of the rows in the cues, (F, Z): cues = factors @ rows."""
    factors_of = (_CUES.get(cue, {cue: 1.0}) for cue in CUES)
    return np.stack([_row_vector(factors, CUE_ROWS) for factors in factors_of])


def _exponents(learned_kernel: bool) -> Mapping[str, Mapping[str, float]]:
    """Exponents in use: those of the cues serve the learned kernel alone."""
    used = None if learned_kernel else _EXPONENTIAL_KERNELS
    return dict(list(_EXPONENTS.items())[:used])


def _row_vector(factor_of: Mapping[str, float], rows: Sequence[str]) -> FloatArray:
    return np.array([factor_of.get(row, 0.0) for row in rows], np.float32)


def _ages(graph: GraphBuilder) -> str:
    """Rows _AGE_ROWS, (4, n)."""
    first = graph.Neg(graph.Shape("history", start=1, end=2))
    return graph.Slice(graph.floats(_age_table(), "ages"), first, [HABIT_EVENTS], [1])


def _coincidences(graph: GraphBuilder) -> str:
    """Rows _SAME_ROWS, (6, n)."""
    last_31 = graph.integers([[[[0, -1]], [[1, -1]], [[0, -2]]]])
    last = graph.GatherND(_before(graph), last_31)
    ids = graph.Gather("history", [[0, 1, 0]], axis=0)
    same = graph.Cast(graph.Equal(ids, last), to=TensorProto.FLOAT)
    taps, bias = (graph.floats(values) for values in _same_taps())
    coincide = graph.Conv(same, taps, bias, kernel_shape=[3], pads=[2, 0])
    return graph.Squeeze(graph.Relu(coincide), [0])


def _waits(graph: GraphBuilder, times_1m: str, time_known: str) -> tuple[str, str, str]:
    """Rows _LOG_ROWS, _APART_ROWS and _SQUARE_ROWS, (2, n) each."""
    before_1m = graph.Gather(_before(graph), [2], axis=0)
    gap_1m = graph.Sub(times_1m, before_1m)
    last_time = graph.GatherND(before_1m, [[[0, -1]]])
    spans_2m = graph.Concat(gap_1m, graph.Sub(last_time, times_1m), axis=0)
    seconds_2m = graph.Cast(spans_2m, to=TensorProto.FLOAT)
    units = graph.floats(np.diag([1 / GAP_UNIT_S, 1 / 3600]), "per_unit")
    one = graph.floats([1.0], "one")
    # log(1 + max(0, s / unit)); the wait for the moment is the gap of its column.
    logs_2m = graph.Log(graph.Max(graph.Gemm(units, seconds_2m, one), one))
    logs_2n = graph.Slice(logs_2m, [0], [-1], [1])
    if time_known:
        wait = graph.GatherND(logs_2m, [[[0, -1]], [[1, -1]]])
        wait = graph.Mul(wait, graph.Cast(time_known, to=TensorProto.FLOAT))
    else:
        wait = graph.floats([[0.0], [0.0]])
    apart_2n = graph.Sub(logs_2n, wait)
    return logs_2n, apart_2n, graph.Mul(apart_2n, apart_2n)


def _before(graph: GraphBuilder) -> str:
    """The behavior before each behavior and before the moment, (4, m)."""
    name = "before"
    if all(node.name != name for node in graph.nodes):
        nothing = graph.integers([[-1], [-1], [_FOR_EVER_S], [0]])
        graph.Concat(nothing, "history", name=name, axis=1)
    return name


def _calendar(graph: GraphBuilder, half_hours_1m: str, moment: str) -> str:
    """Rows _CALENDAR_ROWS of each behavior, (4, n)."""
    # Distances of every half hour of the week, and of no moment, from each, (337, 4, 336); computed
    # when the graph is loaded.
    weekdays, slots = weekdays_and_slots(graph)
    of_past = weekdays_and_slots(graph, with_none=False)
    apart, days = (
        _outer(graph, graph.bytes_as_floats(table, name), *numbers)
        for name, table, *numbers in (
            ("half_hours_apart", _clock_table(), slots, of_past[1]),
            ("days_differ", _day_table(), weekdays, of_past[0]),
        )
    )
    clock = graph.Mul(apart, apart)
    far = graph.GatherND(graph.Concat(clock, days, axis=1), moment)
    past_1n = graph.Slice(half_hours_1m, [0], [-1], [1])
    return graph.GatherElements(far, graph.Concat(*[past_1n] * 4, axis=0), axis=1)


def _outer(graph: GraphBuilder, table: str, numbers: str, of_past: str) -> str:
    """table (a + 1, F, a) at all pairs of two moments, of which the first may be none."""
    return graph.Gather(graph.Gather(table, numbers, axis=0), of_past, axis=2)


def _age_table() -> FloatArray:
    """Rows _AGE_ROWS of the longest history, (4, HABIT_EVENTS)."""
    age = np.arange(HABIT_EVENTS - 1, -1, -1).astype(np.float64)
    rows = {
        "latest": age == 0,
        "age": np.log1p(age),
        "frequency": np.ones_like(age),
        "recency": DECAY**age,
    }
    return np.stack([rows[row] for row in _AGE_ROWS]).astype(np.float32)


def _same_taps() -> tuple[FloatArray, FloatArray]:
    """Rows _SAME_ROWS from a behavior and the two before it, (6, 3, 3) and (6,).

    The second index is the comparison: with the last behavior, the last location, the last behavior but one.
    """
    row_of = {row: number for number, row in enumerate(_SAME_ROWS)}
    behavior, location, last_but_one = 0, 1, 2
    here, before, two_before = 2, 1, 0
    taps, bias = np.zeros((len(row_of), 3, 3), np.float32), np.zeros(len(row_of), np.float32)
    taps[row_of["transition"], behavior, before] = 1
    taps[row_of["location"], location, before] = 1
    taps[row_of["repeat"], behavior, here] = 1
    taps[row_of["at_location"], location, here] = 1
    taps[row_of["alternation"], last_but_one, here] = 1
    # Both of two: their sum less one, and nothing below 0.
    taps[row_of["second_order"], [behavior, last_but_one], [before, two_before]] = 1
    bias[row_of["second_order"]] = -1
    return taps, bias


def _clock_table() -> npt.NDArray[np.int64]:
    """Half hours around the clock between two slots, (49, 1, 48); 0 from none."""
    slot = np.arange(NUM_SLOTS)
    apart = np.abs(slot[:, None] - slot)
    apart = np.minimum(apart, NUM_SLOTS - apart)
    return np.append(apart, np.zeros_like(apart[:1]), 0)[:, None]


def _day_table() -> npt.NDArray[np.bool_]:
    """1 where two weekdays differ, where just one is on the weekend, and where the first is none, (8, 3, 7)."""
    weekday = np.arange(NUM_WEEKDAYS)
    first = np.append(weekday, -1)[:, None]
    is_none = np.broadcast_to(first < 0, (NUM_WEEKDAYS + 1, NUM_WEEKDAYS))
    other_type = (first >= FIRST_WEEKEND_DAY) != (weekday >= FIRST_WEEKEND_DAY)
    rows = (first != weekday, other_type | is_none, is_none)
    return np.stack(rows, 1)
