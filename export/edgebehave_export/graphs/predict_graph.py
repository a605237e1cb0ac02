"""predict.onnx, node by node: three quarters of the nodes that the exporter of torch writes.

It computes what `graphs.Predict` and, behind it, `shifted_predict` compute: a mixture of the
network and of kernels over the rows of `history_rows`. The gates of the mixture are relative to the
network, in logarithms, and divided by their sum in the end.
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
from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_export.graphs.half_hours import half_hour, weekdays_and_slots
from edgebehave_export.graphs.history_rows import CUE_ROWS, NEVER, history_rows, rows_of_cues, weight_rows
from edgebehave_train.kernels.learned_kernel import MAX_SCORE
from edgebehave_train.model.behavior_model import VOCABULARY_TRUST, BehaviorModel

_MAX_GATE = 60.0
"""Largest logarithm of a gate over that of the network: sums of its exponential stay finite."""


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
        rows = history_rows(
            graph,
            times,
            half_hours,
            moment,
            has_time=self.has_time,
            learned_kernel=config.learned_kernel,
        )
        weights = [*rows.weights]
        if to_learned:
            cues_Zn = graph.node("Concat", *rows.cues, axis=0)
            weights.append(self._learned(to_learned[0], cues_Zn))
        is_known = graph.node("Less", behavior, graph.integers([[config.num_behaviors]]))
        weights.append(graph.node("Cast", is_known, to=TensorProto.FLOAT))
        weights_Wn = graph.node("Concat", *weights, axis=0)
        copied_1n = graph.node("MatMul", self._shares(to_gates, weights_Wn), weights_Wn)
        candidates_1C = self._candidates(self._network(to_head))
        return graph.node("ScatterElements", candidates_1C, behavior, copied_1n, axis=1, reduction="add")

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

    def _shifted(self, mixture_1C: str) -> None:
        """p(b)^(1/T) exp(g sqrt p(b)) r_b^tail, normalized: `edgebehave.answers.probability_shift`."""
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
