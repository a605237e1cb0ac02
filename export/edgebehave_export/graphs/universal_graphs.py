"""The graph of the universal model for one user, in standard operators: the same file for every runtime.

    predict.onnx  the past, the question, past success -> probabilities, and how well each kernel predicted the last
                  behavior, a row of past success for the next question

`edgebehave_train.universal` has the formulas. Two queries are answered at once, as nearly all of the time goes into the
number of nodes: EVENT, the last behavior, whose kernels are compared with what came, and ASKED, the question. Both look
back on the same columns; what the one of them may not see is 0 in its row "one". Times come as days and seconds, so
that all numbers are float32, and whole. Scales of features are folded into the weights that read them.
"""

# n behaviors of the past; P columns within reach of either query; C candidates; K kernels (learned ones included)
# R rows of comparisons; X features of a candidate; Z context; the first dimension of most values: the two queries

import itertools

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto
from onnx.helper import make_tensor_value_info
from torch import Tensor, nn

from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_train.universal.lookup import CUES, KERNELS, LOOKBACK, NUM_BEFORE, SLOW_RECENCY
from edgebehave_train.universal.universal_model import (
    BASE_COUNT,
    EVIDENCE,
    NEARNESS_POWER,
    NUM_CANDIDATE_FEATURES,
    SUCCESS_EVENTS,
    SUCCESS_SPANS,
    UniversalModel,
)

_END = 2**31
_NEVER_D = 1e9
"""Day of the behavior before the first one: later than any, so that the gap between them is 0."""
_REACH = LOOKBACK + 1
"""Columns that one of the two queries looks up: EVENT sees one column further back than ASKED."""

# Columns of the past as rows: the situation before each behavior, the behavior itself, and its calendar.
_COLUMNS = (
    *("name", "first", "second", "third", "fourth", "location", "last_location"),
    *("day", "second_of_day", "last_day", "last_second_of_day"),
    *("_7_weeks", "slot", "weekday", "_", "day_type", "__"),
    *("gap_days", "gap_seconds", "log_gap"),
)
_BEFORE = ("first", "second", "third", "fourth")

_PAIRS = (
    *itertools.product(_BEFORE, _BEFORE),
    *((row, row) for row in ("first", "second", "third", "last_location")),
    *(("first", "name"), ("second", "name"), ("last_location", "location")),
    *((row, row) for row in ("weekday", "day_type", "day")),
)
"""Features that are compared: of the query, of a column."""
_EQUAL_ROWS = ("location", "repeat", "alternation", "at_location")
_SAME_TIME_ROWS = ("weekday", "day_type", "same_day")

# Rows from which the kernels and the cues are taken.
_AGE_ROWS = ("one", "recency", "slow", "age", "latest", "fading")
_BELL_ROWS = ("clock_1", "clock_2", "clock_3", "clock_4", "gap_0.7", "gap_narrow", "gap_wide", "moment")
_TIMED_ROWS = (*_BELL_ROWS, *_SAME_TIME_ROWS, "since")
_ROWS = (
    *_AGE_ROWS,
    *("order_1", "order_2", "order_3", "longest", "skip"),
    *_EQUAL_ROWS,
    *_TIMED_ROWS,
    *("overlap", "bag", "elapsed"),
)

_FACTORS = {
    "frequency": ("one", "one"),
    "recency": ("recency", "one"),
    "slow_recency": ("slow", "one"),
    "order_1": ("order_1", "one"),
    "order_2": ("order_2", "one"),
    "order_3": ("order_3", "one"),
    "order_1_recent": ("order_1", "slow"),
    "order_2_recent": ("order_2", "slow"),
    "longest": ("longest", "slow"),
    "skip": ("skip", "one"),
    "bag": ("bag", "one"),
    "bag_recent": ("bag", "slow"),
    "location": ("location", "one"),
    "location_recent": ("location", "slow"),
    "hour": ("clock_2", "day_type"),
    "week": ("clock_1", "weekday"),
    "order_1_moment": ("order_1", "moment"),
    "location_moment": ("location", "moment"),
}
"""Each kernel is the product of two rows."""

_CUE_SCALES = {"overlap": 0.25, "elapsed": 0.25}
"""The row of a cue times its scale is the cue."""

_CANDIDATE_ROWS = ("age", "repeat", "alternation", "since", "fading", "same_day")
"""Features of a candidate that are those of its last occurrence; then come three that depend on its count."""
_FEATURE_ORDER = (1, 2, 3, 4, 6, 8, 0, 5, 7, 9)
"""Features of a candidate in the order of this graph, as numbers in the order of the model."""
_FEATURE_SCALES = {4: 1 / 5, 9: 1 / 4}
"""By the number in the order of the model: the time since the last occurrence, log base."""

Array = npt.NDArray[np.float32]


def universal_predict(model: UniversalModel) -> ModelProto:
    """predict.onnx of a universal model, fp32.

    Inputs   history (4, n + 1) float32, oldest first, the question last; n at least 1, and the last LOOKBACK +
             NUM_BEFORE + 1 are read: names and locations (from 1 up, less than 2^24; location 0 for none; the question
             has 0 for both), local days since Saturday, 3 January 1970, and seconds of the local day. A question whose
             time is not known has that of the last behavior.
             last (C,) int64: where each different name among the last LOOKBACK behaviors came last, -1 for the last
             behavior, which is the first one, -2 for the one before it, ...
             success (SUCCESS_EVENTS - 1, K + 2) float32, rows of the behaviors before the last one, latest last; above
             them zeros.
             known (1,) float32, 1 if the time of the question is known, 0 if not.
    Outputs  probs (C + 1,) float32: of the candidates, then of a name that is not among them.
             new_success (K + 2,) float32 of the last behavior: see `UniversalModel.successes`, then a 1.
    """
    return _Graph(model).predict()


class _Graph(GraphBuilder):
    """The nodes, part by part."""

    def __init__(self, model: UniversalModel) -> None:
        super().__init__(model)
        self._model = model

    def predict(self) -> ModelProto:
        config = self._model.config
        num_kernels = config.num_kernels
        columns = self._columns()
        # Both queries look back on all columns but the last one, the question.
        past = self.Slice(columns, [-1 - _REACH], [-1], [1])
        asked = self.Reshape(self.Transpose(self.Slice(columns, [-2], [_END], [1]), perm=[1, 0]), [2, -1, 1])
        rows, is_past = self._rows(past, asked)
        factors = [self._take(rows, _ROWS, [_FACTORS[kernel][side] for kernel in KERNELS], 1) for side in (0, 1)]
        fixed = self.Mul(*factors)
        evidence_of_fixed = self.ReduceSum(fixed, [2])
        clock = self._clock(asked)
        learned = self.Mul(self._learned(rows, clock, evidence_of_fixed), is_past)
        weights = self.Concat(fixed, learned, axis=1)  # (2, K, P)
        evidence = self.Concat(evidence_of_fixed, self.ReduceSum(learned, [2]), axis=1)  # (2, K, 1)

        names = self._take(past, _COLUMNS, ["name"], 0)
        ids = self.Gather(names, "last", axis=1)
        one_hot = self.Cast(self.Equal(self.Reshape(ids, [-1, 1]), names), to=TensorProto.FLOAT)  # (C, P)
        flat = self.Gemm(self.Reshape(weights, [2 * num_kernels, -1]), one_hot, transB=1)
        mass = self.Reshape(flat, [2, num_kernels, -1])  # (2, K, C)
        parts = [1, SLOW_RECENCY - 1, 1, num_kernels - SLOW_RECENCY - 1]
        (count, _, slow_mass, _), (num_past, _, slow_evidence, _) = (self.split(x, parts, 1) for x in (mass, evidence))
        is_used = self.Min(count, self.floats(1.0))
        # One name at most is no candidate, and then it was used once: EVENT sees a column that ASKED does not.
        distinct = self.Add(self.ReduceSum(self.Sub(is_used, count), [2]), num_past)
        lift, log_base = self._log_lift(mass, evidence, slow_mass, slow_evidence, distinct)
        success = self._success(lift, is_used)

        log_share, lift, log_base = (self._query(both) for both in (self.Add(lift, log_base), lift, log_base))
        best = self.ReduceMax(log_share, [2])
        features = self._features(rows, lift, log_base, log_share, best, count)
        context = self._context(clock, success, best, evidence, distinct, count, num_past, rows)
        self._answer(context, features, log_base)
        columns_of_success = num_kernels + 2
        floats = TensorProto.FLOAT
        return self.finished(
            inputs=[
                make_tensor_value_info("history", floats, [4, "n"]),
                make_tensor_value_info("last", TensorProto.INT64, ["c"]),
                make_tensor_value_info("success", floats, [SUCCESS_EVENTS - 1, columns_of_success]),
                make_tensor_value_info("known", floats, [1]),
            ],
            outputs=[
                make_tensor_value_info("probs", floats, ["c_and_new"]),
                make_tensor_value_info("new_success", floats, [columns_of_success]),
            ],
        )

    def _take(self, given: str, names: tuple[str, ...], wanted: list[str] | tuple[str, ...], axis: int) -> str:
        """Rows by their names."""
        return self.Gather(given, [names.index(name) for name in wanted], axis=axis)

    def _query(self, both: str, which: int = 1) -> str:
        """One of the two queries, by default the question, as (1, ...)."""
        return self.Slice(both, [which], [which + 1], [0])

    def _columns(self) -> str:
        """_COLUMNS of the behaviors within reach and of the question, (rows, P + 1)."""
        name, location, day, second = self.split("history", [1] * 4, axis=0)
        # Row after row of what lies k columns back, k columns before it and 4 - k behind it, all in one line.
        zeros = {size: self.floats(np.zeros((1, size))) for size in (0, 1, 3, 4, 5)}
        never = self.floats([[_NEVER_D]])
        line = [name, *[zeros[5], name] * NUM_BEFORE, zeros[0], location, zeros[5], location, zeros[3]]
        line += [day, zeros[4], second, zeros[4], never, day, zeros[3], zeros[1], second, zeros[3]]
        lines = self.Reshape(self.Concat(*line, axis=1), [11, -1])
        lines = self.Slice(lines, [-1 - _REACH - NUM_BEFORE], [-NUM_BEFORE], [1])
        _, when, last_when = self.split(lines, [7, 2, 2], axis=0)
        # Weeks begin on Saturday, so weekends are the days 0 and 1.
        wholes = self.Floor(self.Div(when, self.floats([[7.0], [1800.0]])))
        weeks_and_slot = self.Mul(wholes, self.floats([[7.0], [1 / 48]]))
        weekday = self.Sub(when, weeks_and_slot)
        day_type = self.Clip(weekday, self.floats(1.0), self.floats(2.0))
        gap = self.Sub(when, last_when)
        gap_s = self.Relu(self.MatMul(self.floats([[86400.0, 1.0]]), gap))
        log_gap = self.Log(self.Add(gap_s, self.floats(600.0)))  # log(1 + gap / 600 s), and a constant
        return self.Concat(lines, weeks_and_slot, weekday, day_type, gap, log_gap, axis=0)

    def _rows(self, past: str, asked: str) -> tuple[str, str]:
        """_ROWS of comparisons, (2, R, P), and the first one of them, which is 1 for what a query may see."""
        ages, is_past = self._age_rows(past)
        # Nothing is equal to "none", which is 0.
        of_query, of_column = zip(*_PAIRS, strict=True)
        timed = len(_SAME_TIME_ROWS)
        least = self.floats([[0.0]] * (len(_PAIRS) - timed) + [[-1.0]] * timed)
        mine = self._take(asked, _COLUMNS, of_query, 1)
        mine = self.Where(self.Greater(mine, least), mine, self.floats(-1.0))
        equal = self.Cast(self.Equal(mine, self._take(past, _COLUMNS, of_column, 0)), to=TensorProto.FLOAT)
        sizes = [len(_BEFORE) ** 2, 1, 1, 1, len(_EQUAL_ROWS), timed]
        crossed, same_1, same_2, same_3, others, same_times = self.split(equal, sizes, axis=1)
        any_of = self.ReduceMax(self.Reshape(crossed, [2, len(_BEFORE), len(_BEFORE), -1]), [2], keepdims=0)
        overlap = self.ReduceSum(any_of, [1])  # of the last four names
        bag = self.Sub(self.Exp(self.Sub(overlap, self.floats(np.log(20)))), self.floats(1 / 20))
        order_2 = self.Mul(same_1, same_2)
        orders = self.Concat(same_1, order_2, self.Mul(order_2, same_3), axis=1)
        longest = self.MatMul(self.floats([[[1.0, 8.0, 64.0]]]), orders)
        bells = self._bells(past, asked)
        since, elapsed = self._passed(past, asked)
        known = self.Reshape(self.Concat(self.floats([1.0]), "known", axis=0), [2, 1, 1])
        timed_rows = self.Mul(self.Concat(bells, same_times, since, axis=1), self.Mul(is_past, known))
        self._known = known
        parts = [ages, orders, longest, same_2, others, timed_rows, overlap, bag, elapsed]
        return self.Concat(*parts, axis=1), is_past

    def _age_rows(self, past: str) -> tuple[str, str]:
        age = np.arange(_REACH)[::-1] - np.array([[1], [0]])  # of EVENT, of ASKED
        is_past = (age >= 0) & (age < LOOKBACK)
        age = age.clip(0)
        parts = [np.ones_like(age), 0.9**age, 0.97**age, np.log1p(age) / 4, age == 0, np.exp(-age / 10)]
        table = self.floats(np.stack(parts, 1) * is_past[:, None])
        length = self.Neg(self.Shape(past, start=1, end=2))
        ages = self.Slice(table, length, [_END], [2])
        return ages, self.Slice(ages, [0], [1], [1])

    def _bells(self, past: str, asked: str) -> str:
        """_BELL_ROWS: how near two half hours around the clock are, how alike two gaps, and the product of both."""
        rows = ("slot", "log_gap")
        apart = self.Sub(self._take(asked, _COLUMNS, rows, 1), self._take(past, _COLUMNS, rows, 0))
        days = self.Round(self.Mul(apart, self.floats([[1.0], [0.0]])))  # slots are parts of a day
        apart = self.Sub(apart, days)
        width = np.array([[1, 0], [2, 0], [3, 0], [4, 0], [0, 0.7], [0, 0.35], [0, 1], [3, 0.7]])
        factor = np.divide(-0.5, width**2, out=np.zeros_like(width), where=width > 0) * [48**2, 1]
        return self.Exp(self.MatMul(self.floats(factor), self.Mul(apart, apart)))

    def _passed(self, past: str, asked: str) -> list[str]:
        """Logarithms of the time from a behavior to the query, and to the behavior before the query."""
        when = [_COLUMNS.index(name) for name in ("day", "second_of_day")]
        pairs = [when, [_COLUMNS.index(name) for name in ("last_day", "last_second_of_day")]]
        apart = self.Sub(self.Gather(asked, pairs, axis=1), self.Gather(past, when, axis=0))  # (2, 2, 2, P)
        per_unit = self.MatMul(self.floats([[[86400 / 600, 1 / 600]], [[24.0, 1 / 3600]]]), apart)
        passed = self.Log(self.Add(self.Relu(per_unit), self.floats(1.0)))
        return self.split(self.Reshape(passed, [2, 2, -1]), [1, 1], axis=1)

    def _clock(self, asked: str) -> str:
        """`moment_features` of the queries, (2, 8, 1)."""
        angle = 2 * np.pi / 86400
        pick = np.zeros((6, len(_COLUMNS)))
        pick[:4, _COLUMNS.index("second_of_day")] = angle, angle, 2 * angle, 2 * angle
        pick[4, _COLUMNS.index("day_type")] = -1
        pick[5, _COLUMNS.index("gap_days")], pick[5, _COLUMNS.index("gap_seconds")] = 1440, 1 / 60
        offset = self.floats([[0], [np.pi / 2], [0], [np.pi / 2], [2], [0]])
        turned, is_weekend, gap = self.split(self.Add(self.MatMul(self.floats(pick), asked), offset), [4, 1, 1], axis=1)
        gap = self.Log(self.Add(self.Relu(gap), self.floats(1.0)))
        is_short = self.Cast(self.Less(gap, self.floats(0.6)), to=TensorProto.FLOAT)
        ones = self.floats(np.ones((2, 1, 1)))
        return self.Mul(self.Concat(self.Sin(turned), is_weekend, gap, is_short, ones, axis=1), self._known)

    def _learned(self, rows: str, clock: str, evidence: str) -> str:
        """(2, learned kernels, P) weights, from the rows, the clock, and the evidence of the fixed kernels."""
        model, num_learned = self._model, self._model.config.learned_kernels
        scale = np.array([_CUE_SCALES.get(cue, 1.0) for cue in CUES])
        # "one" stands behind the cues and carries the biases.
        cues = self._take(rows, _ROWS, (*CUES, "one"), 1)
        of_hidden = np.concatenate([_array(model.cue_hidden.weight) * scale, _array(model.cue_hidden.bias)[:, None]], 1)
        hidden = self.Relu(self.MatMul(self.floats(of_hidden, "model.cue_hidden.weight"), cues))
        num_clock = model.cue_weight.in_features - len(EVIDENCE)
        given = _array(model.cue_weight.weight).reshape(num_learned, len(CUES), -1) * scale[:, None]
        weight = np.zeros((num_learned, len(CUES) + 1, num_clock + len(KERNELS)))
        weight[:, :-1, :num_clock] = given[..., :num_clock]
        weight[:, :-1, num_clock - 3] /= 6  # the gap
        weight[:, :-1, [num_clock + kernel for kernel in EVIDENCE]] = given[..., num_clock:] / 4
        bias = np.zeros((num_learned, len(CUES) + 1))
        bias[:, :-1] = _array(model.cue_weight.bias).reshape(num_learned, -1) * scale
        bias[:, -1] = _array(model.cue_score.bias)
        log_evidence = self.Log(self.Add(evidence, self.floats(1.0)))
        inputs = self.Concat(clock, log_evidence, axis=1)
        query = self.MatMul(self.floats(weight.reshape(bias.size, -1), "model.cue_weight.weight"), inputs)
        query = self.Add(query, self.floats(bias.reshape(-1, 1), "model.cue_weight.bias"))
        query = self.Reshape(query, [2, num_learned, len(CUES) + 1])
        score = self.Add(self.MatMul(query, cues), self.MatMul(self.tensor(model.cue_score.weight), hidden))
        return self.Exp(self.Min(score, self.floats(8.0)))

    def _log_lift(self, mass: str, evidence: str, slow_mass: str, slow_evidence: str, distinct: str) -> tuple[str, str]:
        """l_k, (2, K, C), and log base, (2, 1, C)."""
        prior = self.floats(BASE_COUNT)
        # E + a (C + 1)
        total = self.Add(self.Mul(self.Add(distinct, self.floats(1.0)), prior), slow_evidence)
        base = self.Div(self.Add(slow_mass, prior), total)
        alpha = self.floats(self._model.log_alpha.exp()[:, None])
        log_base = self.Log(base)
        share = self.Div(self.Add(mass, self.Mul(alpha, base)), self.Add(evidence, alpha))
        return self.Max(self.Sub(self.Log(share), log_base), self.floats(-12.0)), log_base

    def _success(self, lift: str, is_used: str) -> str:
        """The row of the last behavior, (1, K + 2, 1): its lifts if it is not new, whether it is new, and a 1."""
        of_last = [self._query(self.Gather(x, [0], axis=2), 0) for x in (lift, is_used)]
        lifts = self.Mul(self.Clip(of_last[0], self.floats(-4.0), self.floats(6.0)), of_last[1])
        one = self.floats([[[1.0]]])
        row = self.Concat(lifts, self.Sub(one, of_last[1]), one, axis=1)
        self.Reshape(row, [-1], name="new_success")
        return row

    def _features(self, rows: str, lift: str, log_base: str, log_share: str, best: str, count: str) -> str:
        """Features of the candidates of the question, (X, C)."""
        of_question = self._query(rows)
        of_last = self.Gather(self._take(of_question, _ROWS, _CANDIDATE_ROWS, 1), "last", axis=2)
        counts = np.arange(LOOKBACK + 1)
        table = self.floats([np.stack([np.log1p(counts) / 4, counts == 1, 1 / (1 + counts)])])
        whole = self.Reshape(self.Cast(self._query(count), to=TensorProto.INT64), [-1])
        of_count = self.Gather(table, whole, axis=2)
        below_best = self.Sub(log_share, best)
        nearness = self.Exp(self.Mul(below_best, self.floats(NEARNESS_POWER)))
        features = self.Concat(lift, of_last, of_count, log_base, nearness, axis=1)
        num_features = 2 * self._model.config.num_kernels + NUM_CANDIDATE_FEATURES
        return self.Reshape(features, [num_features, -1])

    def _context(
        self,
        clock: str,
        success: str,
        best: str,
        evidence: str,
        distinct: str,
        count: str,
        num_past: str,
        rows: str,
    ) -> str:
        """The inputs of the context, (1, number of inputs), in the order of `_context_weight`."""
        # Means over the last behaviors; the last column counts the rows, of which there may be few.
        past_success = self.Concat("success", self.Reshape(success, [1, -1]), axis=0)
        age = np.arange(SUCCESS_EVENTS)[::-1]
        weight = np.exp(-age / np.array(SUCCESS_SPANS)[:, None])
        sums = self.MatMul(self.floats(weight), past_success)
        sums, total = self.split(sums, [self._model.config.num_kernels + 1, 1], axis=1)
        means = self.Reshape(self.Div(sums, self.Add(total, self.floats(1.0))), [1, -1, 1])
        squares = self.ReduceSumSquare(count, [2])
        ones = np.ones((self._model.config.num_kernels + 3, 1))
        ones[-2:] = 0
        numbers = self.Concat(evidence, distinct, squares, num_past, axis=1)
        logs = self.Log(self.Add(self._query(numbers), self.floats(ones)))
        variety = self._query(self.Div(distinct, self.Add(num_past, self.floats(1.0))))
        # Whether the last name repeats the one before.
        alternation = _ROWS.index("alternation")
        twice = self.Slice(rows, [1, alternation, -1], [2, alternation + 1, _END], [0, 1, 2])
        inputs = self.Concat(self._query(clock), means, logs, best, variety, twice, axis=1)
        return self.Reshape(self.Mul(inputs, self.floats(self._context_scale()[:, None])), [1, -1])

    def _context_scale(self) -> Array:
        """Factors that bring the inputs of the context near 1, so that its weights can be stored as integers."""
        num_kernels = self._model.config.num_kernels
        scale = np.ones(8 + len(SUCCESS_SPANS) * (num_kernels + 1) + 2 * num_kernels + 5, np.float32)
        scale[-2 * num_kernels - 5 : -2] = 1 / 4
        scale[5] = 1 / 6  # the gap
        return scale

    def _context_weight(self) -> Array:
        """The weights of the first layer of the context, for inputs in the order of `_context`."""
        config = self._model.config
        num_kernels = config.num_kernels
        first = self._model.context[0]
        assert isinstance(first, nn.Linear)
        weight = _array(first.weight)
        num_clock, num_means = 8, len(SUCCESS_SPANS) * (num_kernels + 1)
        sizes = [num_clock, num_means, num_kernels, num_kernels, 1, 1, 1, 1, 1]
        clock, means, evidence, best, num_past, distinct, variety, twice, spread = np.split(
            weight, np.cumsum(sizes)[:-1], axis=1
        )
        evidence = evidence.copy()
        evidence[:, :1] += num_past * (4 / 6)  # the evidence of the kernel that counts
        # spread = log(squares / num_past^2) / 4
        parts = [clock, means, evidence, distinct, spread, -2 * spread, best, variety, twice]
        return np.concatenate(parts, 1).astype(np.float32)

    def _answer(self, context: str, features: str, log_base: str) -> None:
        """Probabilities of the candidates and of a new name."""
        model = self._model
        first, second = (layer for layer in model.context if isinstance(layer, nn.Linear))
        weight = self.constant(self._context_weight(), self.name_of(first.weight))
        z = self.Relu(self.Gemm(context, weight, self.tensor(first.bias), transB=1))
        z = self.Relu(self._linear(z, second))
        new_hidden, new_score = (layer for layer in model.novelty if isinstance(layer, nn.Linear))
        heads = [model.power, model.hidden_score, model.context_hidden, new_hidden]
        power, hidden_score, context_hidden, new = self._joint_heads(z, heads)
        order, scale = self._feature_columns()
        scaled = _array(model.feature_hidden.weight)[:, order] * scale
        of_features = self.floats(scaled, "model.feature_hidden.weight")
        hidden = self.Relu(self.Gemm(of_features, features, self.Reshape(context_hidden, [-1, 1])))
        score = self.Gemm(power, features, self.Reshape(log_base, [1, -1]))
        score = self.Gemm(hidden_score, hidden, score)
        novelty = self._linear(self.Relu(new), new_score)
        self.Reshape(self.Softmax(self.Concat(score, novelty, axis=1), axis=1), [-1], name="probs")

    def _linear(self, x: str, layer: nn.Linear) -> str:
        return self.Gemm(x, self.tensor(layer.weight), self.tensor(layer.bias), transB=1)

    def _joint_heads(self, z: str, heads: list[nn.Linear]) -> list[str]:
        """Linear layers of one input, computed as one; the first one's outputs in the order of the features."""
        weights, biases = ([_array(getattr(head, name)) for head in heads] for name in ("weight", "bias"))
        order, scale = self._feature_columns()
        weights[0], biases[0] = weights[0][order] * scale[:, None], biases[0][order] * scale
        weight = self.floats(np.concatenate(weights), "model.heads.weight")
        joint = self.Gemm(z, weight, self.floats(np.concatenate(biases), "model.heads.bias"), transB=1)
        return self.split(joint, [len(bias) for bias in biases], axis=1)

    def _feature_columns(self) -> tuple[list[int], Array]:
        """Positions in the model's features of those in the order of this graph, and their scales."""
        num_kernels = self._model.config.num_kernels
        before_nearness = num_kernels + NUM_CANDIDATE_FEATURES
        order = [
            *range(num_kernels),
            *(num_kernels + feature for feature in _FEATURE_ORDER),
            *range(before_nearness, before_nearness + num_kernels),
        ]
        scale = np.ones(len(order), np.float32)
        scale[num_kernels:before_nearness] = [_FEATURE_SCALES.get(feature, 1.0) for feature in _FEATURE_ORDER]
        return order, scale


def _array(values: Tensor) -> Array:
    found: Array = values.detach().numpy()
    return found
