"""predict.onnx and next.onnx, node by node: three quarters of the nodes that the exporter of torch writes.

Both hold the mixture of the network and of the kernels over the rows of `history_rows`. The gates of the
kernels are logarithms relative to the gate of the network; the sum over all candidates divides them in the end.
"""

# n behaviors of a history, Z rows that cues are made of, W rows that are weights, F cues, S hidden
# units, D width, K kernels, V behaviors, U spare slots, C = V + U candidates

import math

import numpy as np
import torch
from onnx import ModelProto, TensorProto
from onnx.helper import make_tensor_value_info
from torch import Tensor

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.habits import KERNELS
from edgebehave_export.graphs.clock import half_hour, weekdays_and_slots
from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_export.graphs.history_rows import CUE_ROWS, NEVER, history_rows, rows_of_cues, weight_rows
from edgebehave_train.kernels.learned_kernel import MAX_SCORE
from edgebehave_train.model.behavior_model import VOCABULARY_TRUST, BehaviorModel

_MAX_GATE = 60.0
"""Largest logarithm of a gate over that of the network: sums of its exponential stay finite."""


def predict_graph(model: BehaviorModel, shift: ProbabilityShift | None = None) -> ModelProto:
    """predict.onnx of a model, fp32, in standard operators.

    Inputs   hidden                              (1, D) float32, state after the last event.
             time_s, utc_offset_min, time_known  (1,) int64, the moment to predict for; time_known is 0 or 1,
                                                 as ONNX Runtime has no bool in Swift and Objective-C.
             location                            (1,) int64, the location to predict for.
             history                             (4, n) int64, 1 <= n <= HABIT_EVENTS, oldest first; rows
                                                 behavior, location, time_s, utc_offset_min.
             tail                                () float32 in 0..1.
             Without habits or query_context, the inputs that these need are absent.
    Outputs  probs (V + U,) float32, sums to 1; column 0 is the unknown behavior.
    shift    calibration and ratios for `tail`; None: probabilities of the mixture, whatever `tail` is.
    """
    mixture = _Mixture(model)
    mixture.add_shifted(shift or ProbabilityShift(log_ratio_V=np.zeros(model.config.num_behaviors)))
    return mixture.finished(probs=[mixture.num_candidates])


def next_graph(model: BehaviorModel) -> ModelProto:
    """next.onnx of a model with generation heads, fp32: what happens at a moment that is known.

    Inputs   those of predict.onnx without time_known and tail, and num_real () int64: the first num_real
             behaviors of the history happened. The others were generated; nothing is copied from them.
    Outputs  probs (V + U,), as of predict.onnx without calibration; event_scores (E,), whose softmax over
             the events that stand for a behavior is p(event | behavior); z (1, D).
    """
    mixture = _Mixture(model, generates=True)
    mixture.add_generated()
    shapes = {"event_scores": [model.config.num_events], "z": [1, model.config.width]}
    return mixture.finished(probs=[mixture.num_candidates], **shapes)


class _Mixture:
    """The nodes of the mixture; `generates` for next.onnx, in which the moment is always known."""

    def __init__(self, model: BehaviorModel, generates: bool = False) -> None:
        self.model, self.config, self.generates = model, model.config, generates
        self.graph = GraphBuilder(model)
        self.has_time = self.config.query_context != "none"
        self.time_known = self.graph.integers([1]) if generates else "time_known"
        self.num_kernels = len(KERNELS) + self.config.learned_kernel
        self.num_candidates = self.config.num_behaviors + self.config.num_spare

    def finished(self, **outputs: list[int]) -> ModelProto:
        """The graph with its inputs; outputs as name=shape."""
        config = self.config
        moment = ["time_s", "utc_offset_min"] + ["time_known"] * (not self.generates)
        integers = moment * self.has_time + ["location"] * (config.query_context == "time_location")
        inputs = [make_tensor_value_info("hidden", TensorProto.FLOAT, [1, config.width])]
        inputs += [make_tensor_value_info(name, TensorProto.INT64, [1]) for name in integers]
        if config.habits:
            inputs.append(make_tensor_value_info("history", TensorProto.INT64, [4, "num_history"]))
        if not self.generates:
            inputs.append(make_tensor_value_info("tail", TensorProto.FLOAT, []))
        elif config.habits:
            inputs.append(make_tensor_value_info("num_real", TensorProto.INT64, []))
        found = [make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        return self.graph.finished(inputs, found)

    def _mixture(self) -> tuple[str, str]:
        """Probabilities of the candidates (1, C), with habits not divided by their sum; and z (1, D)."""
        if self.config.habits:
            return self._with_habits()
        moment = ""
        if self.has_time:
            moment = self._moment(half_hour(self.graph, "time_s", "utc_offset_min"))
        z = self._query(moment)
        (head,) = self._of_state(z)
        return self._candidates(self._network(head)), z

    def _with_habits(self) -> tuple[str, str]:
        graph, config = self.graph, self.config
        behavior, _, times, offsets = graph.split("history", [1, 1, 1, 1], axis=0)
        times = graph.node("Concat", times, self._now("time_s"), axis=1)
        offsets = graph.node("Concat", offsets, self._now("utc_offset_min"), axis=1)
        half_hours = half_hour(graph, times, offsets)
        moment = graph.integers([0])
        if self.has_time:
            last = graph.integers([[0, -1]])
            moment = self._moment(graph.node("GatherND", half_hours, last))
        z = self._query(moment)
        *to_learned, to_gates, to_head = self._of_state(z)
        rows = history_rows(
            graph,
            times,
            half_hours,
            moment,
            time_known=self.time_known if self.has_time else "",
            learned_kernel=config.learned_kernel,
        )
        weights = [*rows.weights]
        if to_learned:
            cues_Zn = graph.node("Concat", *rows.cues, axis=0)
            weights.append(self._learned(to_learned[0], cues_Zn))
        is_known = graph.node("Less", behavior, graph.integers([[config.num_behaviors]]))
        weights.append(graph.node("Cast", is_known, to=TensorProto.FLOAT))
        weights_Wn = graph.node("Concat", *weights, axis=0)
        if self.generates:
            num_history = graph.node("Gather", graph.node("Shape", "history"), graph.integers(1))
            index_n = graph.node("Range", graph.integers(0), num_history, graph.integers(1))
            is_real = graph.node("Cast", graph.node("Less", index_n, "num_real"), to=TensorProto.FLOAT)
            weights_Wn = graph.node("Mul", weights_Wn, is_real)
        copied_1n = graph.node("MatMul", self._shares(to_gates, weights_Wn), weights_Wn)
        candidates_1C = self._candidates(self._network(to_head))
        return graph.node("ScatterElements", candidates_1C, behavior, copied_1n, axis=1, reduction="add"), z

    # The moment to predict for

    def _now(self, name: str) -> str:
        """Its UTC seconds or minutes, (1, 1); whatever they are where it is not known."""
        if not self.has_time:
            return self.graph.integers([[0]])
        return self.graph.node("Unsqueeze", name, self.graph.integers([0]))

    def _moment(self, half_hour: str) -> str:
        """Row of the tables of moments, (1,) int64: 0 for one that is not known."""
        row = self.graph.node("Add", half_hour, self.graph.integers([1]))
        return self.graph.node("Mul", row, self.time_known)

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
            rows_ZF = torch.from_numpy(rows_of_cues().T)
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

    # Weights and gates of the history

    def _learned(self, to_learned_1Z: str, rows_Zn: str) -> str:
        """Weights of the learned kernel, (1, n); to_learned is a + A z of its formula."""
        graph, kernel = self.graph, self.model.learned_kernel
        rows_SZ = kernel.cue_in.weight.detach().numpy() @ rows_of_cues()
        rows_SZ[:, CUE_ROWS.index("frequency")] += kernel.cue_in.bias.detach().numpy()
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
        learned = ["learned"] * self.config.learned_kernel
        names = [*weight_rows(self.config.learned_kernel), *learned, "known"]
        kernels = [*KERNELS, *learned]
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
        bias_W = np.full(len(names), NEVER)
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

    def _probs(self) -> tuple[str, str]:
        """The mixture divided by its sum, (1, C); and z (1, D)."""
        mixture_1C, z = self._mixture()
        total = self.graph.node("ReduceSum", mixture_1C, self.graph.integers([1]))
        return self.graph.node("Div", mixture_1C, total), z

    def add_generated(self) -> None:
        """The outputs of `next_graph`."""
        graph, heads = self.graph, self.model.generation
        probs, z = self._probs()
        graph.node("Reshape", probs, graph.integers([-1]), name="probs")
        matrix = graph.floats(heads.event_out.weight.T, graph.name_of(heads.event_out.weight))
        wanted = graph.node("Gemm", z, matrix, graph.tensor(heads.event_out.bias))
        table = graph.floats(self.model.event.weight.T, graph.name_of(self.model.event.weight))
        scores = graph.node("Gemm", wanted, table, graph.tensor(heads.event_bias))
        graph.node("Reshape", scores, graph.integers([-1]), name="event_scores")
        graph.node("Identity", z, name="z")

    def add_shifted(self, shift: ProbabilityShift) -> None:
        """p(b)^(1/T) exp(g sqrt p(b)) r_b^tail, normalized: `edgebehave.answers.probability_shift`."""
        graph = self.graph
        probs, _ = self._probs()
        log_ratio_C = np.zeros(self.config.num_behaviors + self.config.num_spare)
        log_ratio_C[: self.config.num_behaviors] = shift.log_ratio_V
        features = graph.node("Concat", graph.node("Log", probs), graph.node("Sqrt", probs), axis=0)
        scores = graph.node(
            "Gemm",
            graph.floats([[1 / shift.temperature, shift.boost]], "shift"),
            features,
            graph.node("Mul", "tail", graph.floats(log_ratio_C, "log_ratio_C")),
        )
        shifted = graph.node("Softmax", scores, axis=-1)
        graph.node("Reshape", shifted, graph.integers([-1]), name="probs")
