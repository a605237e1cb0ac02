"""predict.onnx, node by node: three quarters of the nodes that the exporter of torch writes.

It computes what `graphs.Predict` and, behind it, `shifted_predict` compute. For one user a node
costs as much as the numbers in it, so everything is arranged for few nodes:

    times        of the history and, behind it, of the moment to predict for: one pass serves both.
    coincidences one convolution over three comparisons.
    calendar     one number, the half hour of the week, looked up in a table that holds how far
                 it is from every other.
    kernels      rows, or exponentials of sums of rows: a coincidence that is wanted is worth 0, one
                 that is missing -256, which leaves nothing.
    gates        relative to the network, in logarithms, and divided by their sum in the end.
"""

# n behaviors of a history, m = n + 1 moments, R rows, X exponentials, Z = R + 4 + X rows that cues
# are made of, W rows that are weights, F cues, S hidden units, D width, K kernels, V behaviors,
# U spare slots, C = V + U candidates

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, TensorProto
from onnx.helper import make_tensor_value_info
from torch import Tensor

from edgebehave.habits import (
    DECAY,
    FIRST_WEEKEND_DAY,
    GAP_UNIT_S,
    GAP_WIDTH,
    HABIT_EVENTS,
    HOUR_WIDTH,
    KERNELS,
    MOMENT_WIDTH,
)
from edgebehave.probability_shift import ProbabilityShift
from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS
from edgebehave_export.graph_builder import GraphBuilder
from edgebehave_export.half_hours import half_hour, weekdays_and_slots
from edgebehave_train.history_cues import CLOCK_WIDTHS, CUES, GAP_WIDTHS
from edgebehave_train.learned_kernel import MAX_SCORE
from edgebehave_train.model import VOCABULARY_TRUST, BehaviorModel

FloatArray = npt.NDArray[np.float32]

_FOR_EVER_S = 2**40

_NEVER = -256.0
"""An exponent, the exponential of which is 0."""
_MAX_GATE = 60.0
"""Largest logarithm of a gate over that of the network: sums of its exponential stay finite."""

_AGE_ROWS = ("latest", "age", "frequency", "recency")
_SAME_ROWS = ("transition", "second_order", "place", "repeat", "at_place", "alternation")
_LOG_ROWS = ("waited", "elapsed")
_APART_ROWS = ("gap_apart", "elapsed_apart")  # the second of these comes with the first
_SQUARE_ROWS = ("gap_apart_squared", "elapsed_apart_squared")
_CALENDAR_ROWS = ("half_hours_squared", "other_weekday", "other_day_type", "time_unknown")
ROWS = _AGE_ROWS + _SAME_ROWS + _SQUARE_ROWS + _CALENDAR_ROWS
"""What exponents are made of; some are kernels as they are."""


def _clock(width: float) -> dict[str, float]:
    return {"half_hours_squared": -0.5 / width**2, "time_unknown": _NEVER}


def _gap(width: float) -> dict[str, float]:
    return {"gap_apart_squared": -0.5 / width**2, "time_unknown": _NEVER}


def _only(row: str) -> dict[str, float]:
    return {"frequency": _NEVER, row: -_NEVER}


_AT_MOMENT = _clock(MOMENT_WIDTH) | _gap(GAP_WIDTH)
_EXPONENTS: Mapping[str, Mapping[str, float]] = {
    # Kernels of `edgebehave.habits`.
    "hour": {"other_day_type": _NEVER, **_clock(HOUR_WIDTH)},
    "transition_moment": _only("transition") | _AT_MOMENT,
    "place_moment": _only("place") | _AT_MOMENT,
    # Cues of `edgebehave_train.history_cues`.
    **{f"clock_{width:.0f}": _clock(width) for width in CLOCK_WIDTHS},
    **{name: _gap(of) for name, of in zip(("gap_narrow", "gap_wide"), GAP_WIDTHS, strict=True)},
}
_EXPONENTIAL_KERNELS = 3
_CUE_ROWS = (*ROWS, *_LOG_ROWS, *_APART_ROWS, *_EXPONENTS)
_CUES: Mapping[str, Mapping[str, float]] = {  # of rows, where a cue is none itself
    "same_last": {"transition": 1.0},
    "same_last_two": {"second_order": 1.0},
    "same_place": {"place": 1.0},
    "weekday": {"frequency": 1.0, "other_weekday": -1.0},
    "day_type": {"frequency": 1.0, "other_day_type": -1.0},
    "wait": {"waited": 1.0, "gap_apart": -1.0},
    "time_known": {"frequency": 1.0, "time_unknown": -1.0},
}


def predict_graph(model: BehaviorModel, shift: ProbabilityShift | None = None) -> ModelProto:
    """The predict graph of a model, fp32, in standard operators.

    Inputs   those of `shifted_predict.ShiftedPredict`, in its order.
    Outputs  probs (V + U,) float32, sums to 1; column 0 is what nobody can name.
    shift    calibration and dial; None: none, whatever `tail` is.
    """
    return _Predict(model, shift).finished()


class _Predict:
    def __init__(self, model: BehaviorModel, shift: ProbabilityShift | None) -> None:
        self.model, self.config = model, model.config
        none = ProbabilityShift(log_ratio_V=np.zeros(model.config.num_behaviors))
        self.shift = shift or none
        self.graph = GraphBuilder(model)
        self.has_time = self.config.query_context != "none"
        self.num_kernels = len(KERNELS) + self.config.learned_kernel

    def finished(self) -> ModelProto:
        graph, config = self.graph, self.config
        integers = ["time_s", "utc_offset_min", "time_known"] * self.has_time
        integers += ["location"] * (config.query_context == "time_location")
        inputs = [
            make_tensor_value_info("hidden", TensorProto.FLOAT, [1, config.width]),
            *(make_tensor_value_info(name, TensorProto.INT64, [1]) for name in integers),
        ]
        if config.habits:
            inputs.append(make_tensor_value_info("history", TensorProto.INT64, [4, "num_history"]))
        inputs.append(make_tensor_value_info("tail", TensorProto.FLOAT, []))
        self._shifted(self._with_habits() if config.habits else self._network_alone())
        num_candidates = config.num_behaviors + config.num_spare
        probs = make_tensor_value_info("probs", TensorProto.FLOAT, [num_candidates])
        return graph.finished(inputs, [probs])

    def _network_alone(self) -> str:
        """Probabilities of the candidates, (1, C)."""
        moment = ""
        if self.has_time:
            moment = self._moment(half_hour(self.graph, "time_s", "utc_offset_min"))
        (head,) = self._of_state(self._query(moment))
        return self._candidates(self._network(head))

    def _with_habits(self) -> str:
        """The mixture of network and kernels, (1, C), not divided by its sum."""
        graph, config = self.graph, self.config
        behavior, _, times, offsets = graph.split("history", [1, 1, 1, 1], axis=0)
        times = graph.node("Concat", times, self._now("time_s"), axis=1)
        offsets = graph.node("Concat", offsets, self._now("utc_offset_min"), axis=1)
        half_hours = half_hour(graph, times, offsets)
        moment = graph.integers([0])
        if self.has_time:
            last = graph.integers([[0, -1]])
            moment = self._moment(graph.node("GatherND", half_hours, last))
        *to_learned, to_gates, to_head = self._of_state(self._query(moment))
        calendar_4n = self._calendar(half_hours, moment)
        ages_4n, same_6n = self._ages(), self._coincidences()
        logs_2n, apart_2n, squared_2n = self._waits(times)
        rows_Rn = graph.node("Concat", ages_4n, same_6n, squared_2n, calendar_4n, axis=0)
        exponents = [_row_vector(factor_of, ROWS) for factor_of in self._exponents().values()]
        exponents_Xn = graph.node("MatMul", graph.floats(exponents, "exponents"), rows_Rn)
        exponentials_Xn = graph.node("Exp", exponents_Xn)
        weights = [ages_4n, same_6n, exponentials_Xn]
        if to_learned:
            rows = (rows_Rn, logs_2n, apart_2n, exponentials_Xn)
            weights.append(self._learned(to_learned[0], graph.node("Concat", *rows, axis=0)))
        is_known = graph.node("Less", behavior, graph.integers([[config.num_behaviors]]))
        weights.append(graph.node("Cast", is_known, to=TensorProto.FLOAT))
        weights_Wn = graph.node("Concat", *weights, axis=0)
        copied_1n = graph.node("MatMul", self._shares(to_gates, weights_Wn), weights_Wn)
        candidates_1C = self._candidates(self._network(to_head))
        return graph.node(
            "ScatterElements", candidates_1C, behavior, copied_1n, axis=1, reduction="add"
        )

    def _exponents(self) -> Mapping[str, Mapping[str, float]]:
        """Those of the cues serve the learned kernel alone."""
        used = None if self.config.learned_kernel else _EXPONENTIAL_KERNELS
        return dict(list(_EXPONENTS.items())[:used])

    # The moment to predict for

    def _now(self, name: str) -> str:
        """Its UTC seconds or minutes, (1, 1); whatever they are where it is not known."""
        if not self.has_time:
            return self.graph.integers([[0]])
        return self.graph.node("Unsqueeze", name, self.graph.integers([0]))

    def _moment(self, half_hour: str) -> str:
        """Row of the tables of moments, (1,) int64: 0 for one that is not known."""
        row = self.graph.node("Add", half_hour, self.graph.integers([1]))
        return self.graph.node("Mul", row, "time_known")

    def _query(self, moment: str) -> str:
        """z (1, D), as `BehaviorModel.query`."""
        graph, model = self.graph, self.model
        if not self.has_time:
            return "hidden"
        # One row per half hour of the week and one for none, put together when the graph is loaded.
        weekdays, slots = weekdays_and_slots(graph)
        tables = graph.lookup(model.query_weekday, weekdays), graph.lookup(model.query_slot, slots)
        moments = graph.node("Add", *tables)
        z = graph.node("Add", "hidden", graph.node("Gather", moments, moment, axis=0))
        if self.config.query_context == "time_location":
            z = graph.node("Add", z, graph.lookup_known(model.query_location, "location"))
        return z

    # From the state

    def _of_state(self, z: str) -> list[str]:
        """What the state says to the learned kernel, if there is one, to the gates, if there are
        habits, and to the head, (1, ...) each: one product with a matrix of all.
        """
        graph, model, config = self.graph, self.model, self.config
        layers: list[tuple[Tensor, Tensor]] = [(model.head_in.weight, model.head_in.bias)]
        if config.habits:
            layers.insert(0, (model.gate_in.weight[:, : config.width], model.gate_in.bias))
        if config.learned_kernel:
            rows_ZF = torch.from_numpy(_rows_of_cues().T)
            linear = model.learned_kernel.linear
            layers.insert(0, (rows_ZF @ linear.weight, rows_ZF @ linear.bias))
        weights, biases = zip(*layers, strict=True)
        matrix = graph.floats(torch.cat(weights).T, "state_in.weight")
        products = graph.node("Gemm", z, matrix, graph.floats(torch.cat(biases), "state_in.bias"))
        if len(weights) == 1:
            return [products]
        return graph.split(products, [len(weight) for weight in weights], axis=1)

    def _network(self, head: str) -> str:
        """p_0 (1, V), as the softmax of `BehaviorModel.logits`."""
        graph, layer = self.graph, self.model.head_out
        bias = graph.floats(layer.bias + self.model.never_V(), "head_out.bias")
        weight = graph.floats(layer.weight.T, graph.name_of(layer.weight))
        return graph.node("Softmax", graph.node("Gemm", self._gelu(head), weight, bias), axis=-1)

    def _candidates(self, network_1V: str) -> str:
        """With nothing for the spare slots."""
        num_spare = self.config.num_spare
        if not num_spare:
            return network_1V
        nothing = self.graph.node("ConstantOfShape", self.graph.integers([1, num_spare]))
        return self.graph.node("Concat", network_1V, nothing, axis=1)

    def _gelu(self, x: str) -> str:
        """x Phi(x), written so that ONNX Runtime finds its fused form in it."""
        graph = self.graph
        scaled = graph.node("Div", x, graph.floats(math.sqrt(2), "sqrt_2"))
        above = graph.node("Add", graph.node("Erf", scaled), graph.floats(1, "float_1"))
        return graph.node("Mul", graph.node("Mul", x, above), graph.floats(0.5, "float_half"))

    # From the history

    def _ages(self) -> str:
        """Rows _AGE_ROWS, (4, n)."""
        graph = self.graph
        length = graph.node("Shape", "history", start=1, end=2)
        first, end, columns = graph.node("Neg", length), [HABIT_EVENTS], [1]
        ages = graph.floats(_ages(), "ages")
        return graph.node("Slice", ages, first, graph.integers(end), graph.integers(columns))

    def _coincidences(self) -> str:
        """Rows _SAME_ROWS, (6, n)."""
        graph = self.graph
        last_31 = graph.integers([[[[0, -1]], [[1, -1]], [[0, -2]]]])
        last = graph.node("GatherND", self._before(), last_31)
        ids = graph.node("Gather", "history", graph.integers([[0, 1, 0]]), axis=0)
        same = graph.node("Cast", graph.node("Equal", ids, last), to=TensorProto.FLOAT)
        taps, bias = (graph.floats(values) for values in _same_taps())
        coincide = graph.node("Conv", same, taps, bias, kernel_shape=[3], pads=[2, 0])
        return graph.node("Squeeze", graph.node("Relu", coincide), graph.integers([0]))

    def _waits(self, times_1m: str) -> tuple[str, str, str]:
        """Rows _LOG_ROWS, _APART_ROWS and _SQUARE_ROWS, (2, n) each."""
        graph = self.graph
        before_1m = graph.node("Gather", self._before(), graph.integers([2]), axis=0)
        gap_1m = graph.node("Sub", times_1m, before_1m)
        last_time = graph.node("GatherND", before_1m, graph.integers([[[0, -1]]]))
        spans_2m = graph.node("Concat", gap_1m, graph.node("Sub", last_time, times_1m), axis=0)
        seconds_2m = graph.node("Cast", spans_2m, to=TensorProto.FLOAT)
        units = graph.floats(np.diag([1 / GAP_UNIT_S, 1 / 3600]), "per_unit")
        one = graph.floats([1.0], "one")
        # log(1 + max(0, s / unit)); the wait for the moment is the gap of its column.
        above = graph.node("Max", graph.node("Gemm", units, seconds_2m, one), one)
        logs_2m = graph.node("Log", above)
        parts = graph.integers([0]), graph.integers([-1]), graph.integers([1])
        logs_2n = graph.node("Slice", logs_2m, *parts)
        if self.has_time:
            wait = graph.node("GatherND", logs_2m, graph.integers([[[0, -1]], [[1, -1]]]))
            is_known = graph.node("Cast", "time_known", to=TensorProto.FLOAT)
            wait = graph.node("Mul", wait, is_known)
        else:
            wait = graph.floats([[0.0], [0.0]])
        apart_2n = graph.node("Sub", logs_2n, wait)
        return logs_2n, apart_2n, graph.node("Mul", apart_2n, apart_2n)

    def _before(self) -> str:
        """What came before each behavior and before the moment, (4, m)."""
        name, graph = "before", self.graph
        if all(node.name != name for node in graph.nodes):
            nothing = graph.integers([[-1], [-1], [_FOR_EVER_S], [0]])
            graph.node("Concat", nothing, "history", name=name, axis=1)
        return name

    def _calendar(self, half_hours_1m: str, moment: str) -> str:
        """Rows _CALENDAR_ROWS of each behavior, (4, n)."""
        graph = self.graph
        # How far every half hour of the week is from each and from no moment, (337, 4, 336); put
        # together when the graph is loaded.
        weekdays, slots = weekdays_and_slots(graph)
        of_past = weekdays_and_slots(graph, with_none=False)
        apart, days = (
            self._outer(graph.bytes_as_floats(table, name), *numbers)
            for name, table, *numbers in (
                ("half_hours_apart", _clock_table(), slots, of_past[1]),
                ("days_differ", _day_table(), weekdays, of_past[0]),
            )
        )
        clock = graph.node("Mul", apart, apart)
        far = graph.node("GatherND", graph.node("Concat", clock, days, axis=1), moment)
        all_but_last, columns = graph.integers([-1]), graph.integers([1])
        past_1n = graph.node("Slice", half_hours_1m, graph.integers([0]), all_but_last, columns)
        return graph.node(
            "GatherElements", far, graph.node("Concat", *[past_1n] * 4, axis=0), axis=1
        )

    def _outer(self, table: str, numbers: str, of_past: str) -> str:
        """table (a + 1, F, a) at all pairs of two moments, of which the first may be none."""
        graph = self.graph
        return graph.node("Gather", graph.node("Gather", table, numbers, axis=0), of_past, axis=2)

    def _learned(self, to_learned_1Z: str, rows_Zn: str) -> str:
        """Weights of the learned kernel, (1, n); to_learned is a + A z of its formula."""
        graph, kernel = self.graph, self.model.learned_kernel
        rows_SZ = kernel.cue_in.weight.detach().numpy() @ _rows_of_cues()
        rows_SZ[:, _CUE_ROWS.index("frequency")] += kernel.cue_in.bias.detach().numpy()
        hidden_Sn = graph.node("MatMul", graph.floats(rows_SZ, "cue_rows"), rows_Zn)
        linear_1n = graph.node("MatMul", to_learned_1Z, rows_Zn)
        out_1S = graph.tensor(kernel.cue_out.weight)
        scores_1n = graph.node("Gemm", out_1S, graph.node("Relu", hidden_Sn), linear_1n)
        highest = graph.floats([MAX_SCORE], "max_score")
        return graph.node("Exp", graph.node("Min", scores_1n, highest))

    def _shares(self, gates: str, weights_Wn: str) -> str:
        """What a weight of each row of weights counts beside the network, (1, W).

            g_k / E_k / g_0 = exp(l_k - l_0) (n + t) / (n_known + t) / (E_k + c_k)

        as in `BehaviorModel.gates`, where l are the scores of the gates. Rows that are no kernel
        count nothing.

        gates  (1, 64), what the state says to the hidden layer.
        """
        graph, model, num_kernels = self.graph, self.model, self.num_kernels
        names = [*_AGE_ROWS, *_SAME_ROWS, *self._exponents()]
        names += ["learned"] * self.config.learned_kernel + ["known"]
        kernels = [*KERNELS, *["learned"] * self.config.learned_kernel]
        row_of_kernel = [names.index(kernel) for kernel in kernels]
        # Evidence of the kernels twice, of the whole past, and of what of it is known.
        pick = np.zeros((len(names), 2 * num_kernels + 2))
        for k, row in enumerate(row_of_kernel):
            pick[row, [k, num_kernels + k]] = 1
        pick[names.index("frequency"), -2] = pick[names.index("known"), -1] = 1
        shrinkage = model.log_shrinkage.detach().exp().numpy()
        added = [*np.ones(num_kernels), *shrinkage, VOCABULARY_TRUST, VOCABULARY_TRUST]
        evidence_W1 = graph.node("ReduceSum", weights_Wn, graph.integers([1]))
        pick_and_add = (
            graph.bytes_as_floats(pick, "gate_evidence"),
            graph.floats(added, "gate_added"),
        )
        logs = graph.node("Log", graph.node("Gemm", evidence_W1, *pick_and_add, transA=1))

        hidden_in = model.gate_in.weight[:, self.config.width :].detach().numpy().T
        of_logs = np.zeros((pick.shape[1], hidden_in.shape[1]))
        of_signs = np.zeros((len(names), hidden_in.shape[1]))
        of_logs[:num_kernels] = hidden_in[:num_kernels]
        of_signs[row_of_kernel] = hidden_in[num_kernels:]
        signs_W1 = graph.node("Sign", evidence_W1)
        hidden = graph.node("Gemm", signs_W1, graph.floats(of_signs, "gate_signs"), gates, transA=1)
        hidden = graph.node("Gemm", logs, graph.floats(of_logs, "gate_logs"), hidden)

        weight, bias = (values.detach().numpy() for values in model.gate_out.parameters())
        over_network = np.zeros((weight.shape[1], len(names)))
        over_network[:, row_of_kernel] = (weight[1:] - weight[0]).T
        bias_W = np.full(len(names), _NEVER)
        bias_W[row_of_kernel] = bias[1:] - bias[0]
        factors = np.zeros((pick.shape[1], len(names)))
        for k, row in enumerate(row_of_kernel):
            factors[num_kernels + k, row] = -1
            factors[-2:, row] = 1, -1
        from_logs = graph.bytes_as_floats(factors, "gate_factors")
        scores = graph.node("Gemm", logs, from_logs, graph.floats(bias_W, "gate_bias"))
        out = graph.floats(over_network, "gate_out.weight")
        scores = graph.node("Gemm", self._gelu(hidden), out, scores)
        return graph.node("Exp", graph.node("Min", scores, graph.floats([_MAX_GATE], "max_gate")))

    # The last step

    def _shifted(self, mixture_1C: str) -> None:
        """p(b)^(1/T) exp(g sqrt p(b)) r_b^tail, normalized: `edgebehave.probability_shift`."""
        graph, shift = self.graph, self.shift
        log_ratio_C = np.zeros(self.config.num_behaviors + self.config.num_spare)
        log_ratio_C[: self.config.num_behaviors] = shift.log_ratio_V
        total = graph.node("ReduceSum", mixture_1C, graph.integers([1]))
        probs = graph.node("Div", mixture_1C, total)
        features = graph.node("Concat", graph.node("Log", probs), graph.node("Sqrt", probs), axis=0)
        scores = graph.node(
            "Gemm",
            graph.floats([[1 / shift.temperature, shift.boost]], "shift"),
            features,
            graph.node("Mul", "tail", graph.floats(log_ratio_C, "log_ratio_C")),
        )
        shifted = graph.node("Softmax", scores, axis=-1)
        graph.node("Reshape", shifted, graph.integers([-1]), name="probs")


def _row_vector(factor_of: Mapping[str, float], rows: Sequence[str]) -> FloatArray:
    return np.array([factor_of.get(row, 0.0) for row in rows], np.float32)


def _rows_of_cues() -> FloatArray:
    """How the cues are made of rows, (F, Z): cues = this @ rows."""
    factors_of = (_CUES.get(cue, {cue: 1.0}) for cue in CUES)
    return np.stack([_row_vector(factors, _CUE_ROWS) for factors in factors_of])


def _ages() -> FloatArray:
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

    The first index is the row, the second what is the same: as the last behavior, the last place,
    the last behavior but one.
    """
    row_of = {row: number for number, row in enumerate(_SAME_ROWS)}
    behavior, place, last_but_one = 0, 1, 2
    here, before, two_before = 2, 1, 0
    taps, bias = np.zeros((len(row_of), 3, 3), np.float32), np.zeros(len(row_of), np.float32)
    taps[row_of["transition"], behavior, before] = 1
    taps[row_of["place"], place, before] = 1
    taps[row_of["repeat"], behavior, here] = 1
    taps[row_of["at_place"], place, here] = 1
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
    """Whether two weekdays differ, whether one is on the weekend and one not, and whether the first
    is none, (8, 3, 7)."""
    weekday = np.arange(NUM_WEEKDAYS)
    first = np.append(weekday, -1)[:, None]
    is_none = np.broadcast_to(first < 0, (NUM_WEEKDAYS + 1, NUM_WEEKDAYS))
    other_type = (first >= FIRST_WEEKEND_DAY) != (weekday >= FIRST_WEEKEND_DAY)
    rows = (first != weekday, other_type | is_none, is_none)
    return np.stack(rows, 1)
