"""The graphs of the universal model for one query of one user, in standard operators: the same files for every runtime.

    observe.onnx  the last behavior and those before it -> how well each kernel predicted it, a row of past success
    predict.onnx  the past, candidates, past success and a moment -> probabilities

`edgebehave_train.universal` has the formulas. Here the past is cut to the LOOKBACK behaviors within reach, so nothing
is masked; what depends on the age of a behavior alone, on the half hour or on the weekday comes from a table.
"""

# n behaviors of the past, C candidates, K kernels (learned ones included), F cues, X features of a candidate, Z context

import itertools
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto
from onnx.helper import make_tensor_value_info
from torch import nn

from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_train.universal.lookup import CUES, KERNELS, LOOKBACK, NUM_BEFORE, SLOW_RECENCY
from edgebehave_train.universal.universal_model import (
    BASE_COUNT,
    EVIDENCE,
    SUCCESS_EVENTS,
    SUCCESS_SPANS,
    UniversalModel,
)

_END = 2**31
_LATER_S = 2**40
"""Later than any behavior: the behavior before the first one, so that the gap between them is 0."""
_SLOTS, _WEEKDAYS, _SLOT_S = 48, 7, 1800

# Rows of the situation before each behavior, and of the behavior itself.
_NAME, _FIRST, _SECOND, _THIRD, _FOURTH, _LOCATION, _LAST_LOCATION, _LOCAL_S, _LAST_S = range(9)
_BEFORE = (_FIRST, _SECOND, _THIRD, _FOURTH)

# Rows from which the kernels and the cues are taken.
_AGE_ROWS = ("one", "recency", "slow", "age", "latest", "fading")
_EQUAL_ROWS = ("order_1", "order_2", "order_3", "skip", "location", "repeat", "alternation", "at_location")
_TIMED_ROWS = (
    *("clock_1", "clock_2", "clock_3", "clock_4", "weekday", "day_type"),
    *("gap_0.7", "gap_narrow", "gap_wide", "same_day", "since"),
)
_MORE_ROWS = ("overlap", "bag", "longest", "elapsed", "moment")
_ROWS = (*_AGE_ROWS, *_EQUAL_ROWS, *_TIMED_ROWS, *_MORE_ROWS)

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

_CANDIDATE_ROWS = ("age", "repeat", "alternation", "since", "fading", "same_day")
"""Features of a candidate that are those of its last occurrence; then come three that depend on its count."""
_FEATURE_ORDER = (1, 2, 3, 4, 6, 8, 0, 5, 7, 9)
"""Features of a candidate in the order of these graphs, as numbers in the order of the model."""


def universal_observe(model: UniversalModel) -> ModelProto:
    """observe.onnx of a universal model, fp32.

    Inputs   history (4, n) int64: names, locations (both from 1 up; location 0 for none), UTC seconds, and minutes
             to add for local time; oldest first, n at least 2. The last LOOKBACK + NUM_BEFORE + 1 behaviors are read.
    Outputs  success (K + 1,) float32 of the last behavior, see `UniversalModel.successes`.
    """
    graph = _Graph(model)
    found = graph.found("history", None)
    is_hit = graph.Cast(graph.Equal(found.names, found.asked_name), to=TensorProto.FLOAT)
    mass = graph.Gemm(found.weights, is_hit, transB=1)
    evidence = graph.ReduceSum(found.weights, [1])
    distinct = graph.Cast(graph.Size(graph.Unique(found.names)), to=TensorProto.FLOAT)
    lift, _, count, _ = graph.log_lift(mass, evidence, distinct)
    is_known = graph.Min(count, graph.floats(1.0))
    success = graph.Mul(graph.Clip(lift, graph.floats(-4.0), graph.floats(6.0)), is_known)
    row = graph.Concat(success, graph.Sub(graph.floats(1.0), is_known), axis=0)
    graph.Reshape(row, [-1], name="success")
    return graph.finished(
        inputs=[make_tensor_value_info("history", TensorProto.INT64, [4, "n"])],
        outputs=[make_tensor_value_info("success", TensorProto.FLOAT, [model.config.num_kernels + 1])],
    )


def universal_predict(model: UniversalModel) -> ModelProto:
    """predict.onnx of a universal model, fp32.

    Inputs   history (4, n) int64, as in `universal_observe`, n at least 1; the last LOOKBACK + NUM_BEFORE are read.
             ids (C,) int64, the different names among the last LOOKBACK behaviors, in any order.
             success (SUCCESS_EVENTS, K + 1) float32, rows of the last behaviors, latest last; above them zeros.
             time_s, utc_offset_min, time_known (1,) int64, the moment of the query, and whether it is known, 1 or 0.
    Outputs  probs (C + 1,) float32: of the candidates, then of a name that is not among them.
    """
    config = model.config
    graph = _Graph(model)
    # The query is a last column; if its time is not known, that of the last behavior stands for it.
    query = graph.Concat([0, 0], "time_s", "utc_offset_min", axis=0)
    is_known = graph.Cast("time_known", to=TensorProto.BOOL)
    last_4 = graph.Slice("history", [-1], [_END], [1])
    query = graph.Where(is_known, graph.Reshape(query, [4, 1]), last_4)
    known = graph.Cast("time_known", to=TensorProto.FLOAT)
    found = graph.found(graph.Concat("history", query, axis=1), known)
    ids = graph.Unsqueeze("ids", [1])
    one_hot = graph.Cast(graph.Equal(ids, found.names), to=TensorProto.FLOAT)  # (C, n)
    mass = graph.Gemm(found.weights, one_hot, transB=1)  # (K, C)
    evidence = graph.ReduceSum(found.weights, [1])  # (K, 1)
    distinct = graph.Cast(graph.Shape("ids"), to=TensorProto.FLOAT)
    lift, log_base, count, num_past = graph.log_lift(mass, evidence, distinct)
    last = graph.ArgMax(one_hot, axis=1, keepdims=0, select_last_index=1)
    of_last = graph.Gather(graph.rows_of(found.rows, _CANDIDATE_ROWS), last, axis=1)
    counts = np.arange(LOOKBACK + 1)
    by_count = graph.floats(np.stack([np.log1p(counts) / 4, counts == 1, 1 / (1 + counts)]))
    of_count = graph.Gather(by_count, graph.Reshape(graph.Cast(count, to=TensorProto.INT64), [-1]), axis=1)
    quarter_base = graph.Mul(log_base, graph.floats(0.25))
    features = graph.Concat(lift, of_last, of_count, quarter_base, axis=0)  # (X, C)

    share = graph.Div(count, num_past)
    spread = graph.Log(graph.Max(graph.ReduceSumSquare(share), graph.floats(1e-6)))
    sizes = graph.Concat(graph.Reshape(num_past, [1]), distinct, axis=0)
    log_sizes = graph.Mul(graph.Log(graph.Add(sizes, graph.floats(1.0))), graph.floats([1 / 6, 1 / 4]))
    variety = graph.Div(distinct, graph.Add(graph.Reshape(num_past, [1]), graph.floats(1.0)))
    # Whether the last name repeats the one before: the last behavior follows the same name.
    twice = graph.Slice(found.repeats, [-1], [_END], [1])
    log_evidence = graph.Log(graph.Add(evidence, graph.floats(1.0)))
    best = graph.ReduceMax(graph.Add(lift, log_base), [1])
    evidence_and_best = graph.Mul(graph.Concat(log_evidence, best, axis=0), graph.floats(0.25))
    context = graph.Concat(
        graph.Reshape(found.clock, [-1]),
        graph.Reshape(graph.means_of_success(num_past, config.num_kernels + 1), [-1]),
        graph.Reshape(evidence_and_best, [-1]),
        log_sizes,
        variety,
        graph.Reshape(twice, [-1]),
        graph.Mul(graph.Reshape(spread, [1]), graph.floats(0.25)),
        axis=0,
    )
    layers = [layer for layer in model.context if isinstance(layer, nn.Linear)]
    z = graph.Reshape(context, [1, -1])
    for layer in layers:
        z = graph.Relu(graph.linear(z, layer))
    new_layers = [layer for layer in model.novelty if isinstance(layer, nn.Linear)]
    heads = [model.power, model.hidden_score, model.context_hidden, new_layers[0]]
    power, hidden_score, context_hidden, new_hidden = graph.joint_heads(z, heads)
    columns = _feature_columns(config.num_kernels)
    weight = graph.constant(model.feature_hidden.weight.detach().numpy()[:, columns], "model.feature_hidden.weight")
    hidden = graph.Relu(graph.Gemm(weight, features, graph.Reshape(context_hidden, [-1, 1])))
    score = graph.Gemm(power, features, log_base)
    score = graph.Gemm(hidden_score, hidden, score)
    novelty = graph.linear(graph.Relu(new_hidden), new_layers[1])
    graph.Reshape(graph.Softmax(graph.Concat(score, novelty, axis=1), axis=1), [-1], name="probs")
    return graph.finished(
        inputs=[
            make_tensor_value_info("history", TensorProto.INT64, [4, "n"]),
            make_tensor_value_info("ids", TensorProto.INT64, ["c"]),
            make_tensor_value_info("success", TensorProto.FLOAT, [SUCCESS_EVENTS, config.num_kernels + 1]),
            *(make_tensor_value_info(name, TensorProto.INT64, [1]) for name in _MOMENT),
        ],
        outputs=[make_tensor_value_info("probs", TensorProto.FLOAT, ["c_and_new"])],
    )


_MOMENT = ("time_s", "utc_offset_min", "time_known")


def _feature_columns(num_kernels: int) -> list[int]:
    """Positions in the model's features of those in the order of these graphs."""
    return [*range(num_kernels), *(num_kernels + feature for feature in _FEATURE_ORDER)]


class _Found(NamedTuple):
    """Values of a lookup.

    names       (1, n) int64, n at most LOOKBACK.
    asked_name  (1, 1) int64, of the last column.
    rows        (number of _ROWS, n) float32.
    repeats     (1, n) float32, whether a behavior repeats the one before it.
    weights     (K, n) float32.
    clock       (1, clock features) float32.
    """

    names: str
    asked_name: str
    rows: str
    repeats: str
    weights: str
    clock: str


class _Graph(GraphBuilder):
    """With the parts that both graphs need."""

    def __init__(self, model: UniversalModel) -> None:
        super().__init__(model)
        self._model = model

    def linear(self, x: str, layer: nn.Linear) -> str:
        return self.Gemm(x, self.tensor(layer.weight), self.tensor(layer.bias), transB=1)

    def joint_heads(self, z: str, heads: list[nn.Linear]) -> list[str]:
        """Linear layers of one input, computed as one; the first one's outputs in the order of the features."""
        weights = [head.weight.detach().numpy() for head in heads]
        biases = [head.bias.detach().numpy() for head in heads]
        columns = _feature_columns(self._model.config.num_kernels)
        weights[0], biases[0] = weights[0][columns], biases[0][columns]
        weight = self.constant(np.concatenate(weights), "model.heads.weight")
        joint = self.Gemm(z, weight, self.constant(np.concatenate(biases), "model.heads.bias"), transB=1)
        return self.split(joint, [len(bias) for bias in biases], axis=1)

    def rows_of(self, rows: str, names: tuple[str, ...] | list[str]) -> str:
        return self.Gather(rows, [_ROWS.index(name) for name in names], axis=0)

    def means_of_success(self, num_past: str, num_columns: int) -> str:
        """(spans, K + 1): means of the rows of success, of which there are as many as behaviors, at most 64."""
        age = np.arange(SUCCESS_EVENTS)[::-1]
        weight = np.exp(-age / np.array(SUCCESS_SPANS)[:, None])
        totals = np.concatenate([np.zeros((len(SUCCESS_SPANS), 1)), weight[:, ::-1].cumsum(1)], 1) + 1
        used = self.Cast(self.Min(num_past, self.floats(float(SUCCESS_EVENTS))), to=TensorProto.INT64)
        total = self.Gather(self.floats(totals), self.Reshape(used, [1]), axis=1)
        return self.Div(self.MatMul(self.floats(weight), "success"), total)

    def log_lift(self, mass: str, evidence: str, distinct: str) -> tuple[str, str, str, str]:
        """l_k (K, C), log base (1, C), and the weights by the kernel that counts, (1, C) and (1, 1)."""
        sizes = [1, SLOW_RECENCY - 1, 1, self._model.config.num_kernels - SLOW_RECENCY - 1]
        (count, _, slow_mass, _), (num_past, _, slow_evidence, _) = (self.split(x, sizes, 0) for x in (mass, evidence))
        prior = self.floats(BASE_COUNT)
        # E + a (C + 1)
        total = self.Add(self.Mul(self.Add(distinct, self.floats(1.0)), prior), slow_evidence)
        base = self.Div(self.Add(slow_mass, prior), total)
        alpha = self.floats(self._model.log_alpha.exp()[:, None])
        log_base = self.Log(base)
        share = self.Div(self.Add(mass, self.Mul(alpha, base)), self.Add(evidence, alpha))
        return self.Max(self.Sub(self.Log(share), log_base), self.floats(-12.0)), log_base, count, num_past

    def found(self, history: str, known: str | None) -> _Found:
        """Kernels over the past of a query.

        history  (4, n + 1) past behaviors, and the query as the last column; its name may be any.
        known    (1,) float32, 1 if the time of the query is known, 0 if not; None: it is.
        """
        name, location, time_s, offset_min = self.split(history, [1] * 4, axis=0)
        local_s = self.Add(time_s, self.Mul(offset_min, [60]))
        # Row after row of what lies k columns back, k zeros before it and 4 - k behind it, all in one line.
        zeros = [self.constant(np.zeros((1, size), np.int64)) for size in (1, 3, 4, 5)]
        names = [name, *[zeros[3], name] * NUM_BEFORE]
        locations = [location, zeros[3], location, zeros[1]]
        later = self.constant(np.array([[_LATER_S]]))
        line = self.Concat(*names, *locations, local_s, zeros[2], later, local_s, zeros[1], axis=1)
        lines = self.Reshape(line, [9, -1])
        # The query and the LOOKBACK columns before it.
        all_rows = self.Slice(lines, [-LOOKBACK - 1 - NUM_BEFORE], [-NUM_BEFORE], [1])
        past, asked = self.Slice(all_rows, [0], [-1], [1]), self.Slice(all_rows, [-1], [_END], [1])
        past_rows, asked_rows = self.split(past, [1] * 9, axis=0), self.split(asked, [1] * 9, axis=0)

        equal = self._equal_rows(past, asked)
        timed, elapsed = self._timed_rows(all_rows, past_rows, asked_rows)
        if known is not None:
            timed = self.Mul(timed, known)
        moment = self.Gather(timed, [_TIMED_ROWS.index(name) for name in ("clock_3", "gap_0.7")], axis=0)
        more = [equal["overlap"], equal["bag"], equal["longest"], elapsed, self.ReduceProd(moment, [0])]
        rows = self.Concat(self._age_rows(past), *equal["each"], timed, *more, axis=0)
        factors = [self.rows_of(rows, [_FACTORS[kernel][side] for kernel in KERNELS]) for side in (0, 1)]
        clock = self._clock(asked_rows, known)
        weights = self.Mul(*factors)
        weights = self.Concat(weights, self._learned(rows, clock, weights), axis=0)
        repeats = self.Cast(self.Equal(past_rows[_NAME], past_rows[_FIRST]), to=TensorProto.FLOAT)
        return _Found(past_rows[_NAME], asked_rows[_NAME], rows, repeats, weights, clock)

    def _age_rows(self, past: str) -> str:
        age = np.arange(LOOKBACK)[::-1]
        table = np.stack([np.ones(LOOKBACK), 0.9**age, 0.97**age, np.log1p(age) / 4, age == 0, np.exp(-age / 10)])
        length = self.Neg(self.Shape(past, start=1, end=2))
        return self.Slice(self.floats(table), length, [_END], [1])

    def _equal_rows(self, past: str, asked: str) -> dict[str, Any]:
        """Rows of comparisons of names and locations; "each" are _EQUAL_ROWS."""
        # Nothing is equal to "none".
        asked = self.Where(self.Greater(asked, self.integers(0)), asked, self.integers(-1))
        pairs = list(itertools.product(_BEFORE, _BEFORE))
        pairs += [(_FIRST, _FIRST), (_SECOND, _SECOND), (_THIRD, _THIRD), (_LAST_LOCATION, _LAST_LOCATION)]
        pairs += [(_FIRST, _NAME), (_SECOND, _NAME), (_LAST_LOCATION, _LOCATION)]
        mine, other = zip(*pairs, strict=True)
        equal = self.Equal(self.Gather(asked, list(mine), axis=0), self.Gather(past, list(other), axis=0))
        equal = self.Cast(equal, to=TensorProto.FLOAT)
        crossed, same_1, same_2, same_3, others = self.split(equal, [len(_BEFORE) ** 2, 1, 1, 1, 4], axis=0)
        any_of = self.ReduceMax(self.Reshape(crossed, [len(_BEFORE), len(_BEFORE), -1]), [1])
        overlap = self.Reshape(self.ReduceMean(any_of, [0]), [1, -1])
        order_2 = self.Mul(same_1, same_2)
        order_3 = self.Mul(order_2, same_3)
        longest = self.MatMul(self.floats([[1.0, 8.0, 64.0]]), self.Concat(same_1, order_2, order_3, axis=0))
        bag = self.Mul(self.Sub(self.Exp(self.Mul(overlap, self.floats(4.0))), self.floats(1.0)), self.floats(1 / 20))
        each = [same_1, order_2, order_3, same_2, others]
        return {"each": each, "overlap": overlap, "bag": bag, "longest": longest}

    def _timed_rows(self, all_rows: str, past: list[str], asked: list[str]) -> tuple[str, str]:
        """_TIMED_ROWS, and the row of the time since a behavior, which needs no time of the query."""
        local_s, asked_s = past[_LOCAL_S], asked[_LOCAL_S]
        slots, asked_slots = self.Div(local_s, [_SLOT_S]), self.Div(asked_s, [_SLOT_S])
        apart = np.minimum(np.arange(_SLOTS), _SLOTS - np.arange(_SLOTS))
        bells = np.exp(-0.5 * (apart / np.array([[1.0], [2.0], [3.0], [4.0]])) ** 2)
        slots_apart = self.Mod(self.Sub(slots, asked_slots), [_SLOTS])
        clocks = self.Gather(self.floats(bells), self.Reshape(slots_apart, [-1]), axis=1)
        day, asked_day = self.Div(slots, [_SLOTS]), self.Div(asked_slots, [_SLOTS])
        # 1970 began on a Thursday: day % 7 == 2 is a Saturday.
        is_weekend = np.isin(np.arange(_WEEKDAYS), (2, 3))
        alike = np.stack([np.eye(_WEEKDAYS), is_weekend[:, None] == is_weekend], 1)  # (day asked, 2, day)
        asked_alike = self.Gather(self.floats(alike), self.Reshape(self.Mod(asked_day, [_WEEKDAYS]), []), axis=0)
        days_alike = self.Gather(asked_alike, self.Reshape(self.Mod(day, [_WEEKDAYS]), [-1]), axis=1)
        same_day = self.Cast(self.Equal(day, asked_day), to=TensorProto.FLOAT)
        gap_s = self._gap_s(*self.split(self.Slice(all_rows, [_LOCAL_S], [_LAST_S + 1], [0]), [1, 1], axis=0))
        log_gap = self.Log(self.Add(self.Mul(gap_s, self.floats(1 / 600)), self.floats(1.0)))
        asked_gap = self.Slice(log_gap, [-1], [_END], [1])
        gap_apart = self.Sub(self.Slice(log_gap, [0], [-1], [1]), asked_gap)
        widths = -0.5 / np.array([[0.7], [0.35], [1.0]]) ** 2
        gap_bells = self.Exp(self.Mul(self.Mul(gap_apart, gap_apart), self.floats(widths)))
        passed_s = self.Sub(self.Concat(asked_s, asked[_LAST_S], axis=0), local_s)  # (2, n)
        passed_s = self.Relu(self.Cast(passed_s, to=TensorProto.FLOAT))
        log_passed = self.Log(self.Add(self.Mul(passed_s, self.floats([[1 / 600], [1 / 3600]])), self.floats(1.0)))
        since, elapsed = self.split(self.Mul(log_passed, self.floats([[1 / 5], [1 / 4]])), [1, 1], axis=0)
        return self.Concat(clocks, days_alike, gap_bells, same_day, since, axis=0), elapsed

    def _gap_s(self, local_s: str, last_s: str) -> str:
        """float32 seconds since the behavior before."""
        return self.Relu(self.Cast(self.Sub(local_s, last_s), to=TensorProto.FLOAT))

    def _clock(self, asked: list[str], known: str | None) -> str:
        """`moment_features` of the query, (1, 8)."""
        asked_s = asked[_LOCAL_S]
        second = self.Cast(self.Mod(asked_s, [_SLOTS * _SLOT_S]), to=TensorProto.FLOAT)
        angle = 2 * np.pi / (_SLOTS * _SLOT_S)
        turned = self.Add(
            self.Mul(second, self.floats([[angle, angle, 2 * angle, 2 * angle]])),
            self.floats([[0, np.pi / 2, 0, np.pi / 2]]),
        )
        day = self.Mod(self.Div(asked_s, [_SLOTS * _SLOT_S]), [_WEEKDAYS])
        is_weekend = self.Gather(self.floats([0, 0, 1, 1, 0, 0, 0]), day, axis=0)
        gap = self.Log(self.Add(self.Mul(self._gap_s(asked_s, asked[_LAST_S]), self.floats(1 / 60)), self.floats(1.0)))
        gap = self.Mul(gap, self.floats(1 / 6))
        is_short = self.Cast(self.Less(gap, self.floats(0.1)), to=TensorProto.FLOAT)
        clock = self.Concat(self.Sin(turned), is_weekend, gap, is_short, self.floats([[1.0]]), axis=1)
        return self.Mul(clock, known) if known is not None else clock

    def _learned(self, rows: str, clock: str, weights: str) -> str:
        """(learned kernels, n) weights, from the rows, the clock of the query, and the weights of the fixed kernels."""
        model = self._model
        evidence = self.ReduceSum(self.Gather(weights, list(EVIDENCE), axis=0), [1], keepdims=0)
        evidence = self.Mul(self.Log(self.Add(evidence, self.floats(1.0))), self.floats(0.25))
        clock = self.Concat(clock, self.Unsqueeze(evidence, [0]), axis=1)
        cues = self.rows_of(rows, list(CUES))  # (F, n)
        hidden = self.Gemm(self.tensor(model.cue_hidden.weight), cues, self.floats(model.cue_hidden.bias[:, None]))
        query = self.Reshape(self.linear(clock, model.cue_weight), [model.config.learned_kernels, len(CUES)])
        score = self.Gemm(query, cues, self.floats(model.cue_score.bias[:, None]))
        score = self.Gemm(self.tensor(model.cue_score.weight), self.Relu(hidden), score)
        return self.Exp(self.Min(score, self.floats(8.0)))
