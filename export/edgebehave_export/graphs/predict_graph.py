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
    graph, num_candidates = mixture.graph, mixture.num_candidates
    shift = shift or ProbabilityShift(log_ratio_V=np.zeros(model.config.num_behaviors))
    log_ratio_C = np.append(shift.log_ratio_V, np.zeros(model.config.num_spare))
    probs_1C, _ = mixture.probs()
    # p(b)^(1/T) exp(g sqrt p(b)) r_b^tail, normalized: `edgebehave.answers.probability_shift`
    features_2C = graph.Concat(graph.Log(probs_1C), graph.Sqrt(probs_1C), axis=0)
    factors = graph.floats([[1 / shift.temperature, shift.boost]], "shift")
    scores = graph.Gemm(factors, features_2C, graph.Mul("tail", graph.floats(log_ratio_C, "log_ratio_C")))
    graph.Reshape(graph.Softmax(scores, axis=-1), [-1], name="probs")
    return mixture.finished(probs=[num_candidates])


def next_graph(model: BehaviorModel) -> ModelProto:
    """next.onnx of a model with generation heads, fp32: what happens at a moment that is known.

    Inputs   those of predict.onnx without time_known and tail, and num_real () int64: the first num_real
             behaviors of the history happened. The others were generated; nothing is copied from them.
    Outputs  probs (V + U,), as of predict.onnx without calibration; event_scores (E,), whose softmax over
             the events that stand for a behavior is p(event | behavior); z (1, D).
    """
    mixture, config, heads = _Mixture(model, generates=True), model.config, model.generation
    graph = mixture.graph
    probs_1C, z = mixture.probs()
    graph.Reshape(probs_1C, [-1], name="probs")
    wanted = graph.Gemm(z, graph.transposed(heads.event_out.weight), graph.tensor(heads.event_out.bias))
    scores = graph.Gemm(wanted, graph.transposed(model.event.weight), graph.tensor(heads.event_bias))
    graph.Reshape(scores, [-1], name="event_scores")
    graph.Identity(z, name="z")
    shapes = {"probs": [mixture.num_candidates], "event_scores": [config.num_events], "z": [1, config.width]}
    return mixture.finished(**shapes)


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

    def probs(self) -> tuple[str, str]:
        """Probabilities of the mixture (1, C), and z (1, D)."""
        mixture_1C, z = self._with_habits() if self.config.habits else self._network_alone()
        return self.graph.Div(mixture_1C, self.graph.ReduceSum(mixture_1C, [1])), z

    def _network_alone(self) -> tuple[str, str]:
        moment = self._moment(half_hour(self.graph, "time_s", "utc_offset_min")) if self.has_time else ""
        z = self._query(moment)
        (head,) = self._of_state(z)
        return self._candidates(self._network(head)), z

    def _with_habits(self) -> tuple[str, str]:
        """The mixture of network and kernels, (1, C), not divided by its sum; and z."""
        graph, config = self.graph, self.config
        behavior, _, times, offsets = graph.split("history", [1, 1, 1, 1], axis=0)
        times = graph.Concat(times, self._now("time_s"), axis=1)
        offsets = graph.Concat(offsets, self._now("utc_offset_min"), axis=1)
        half_hours = half_hour(graph, times, offsets)
        moment = graph.integers([0])
        if self.has_time:
            moment = self._moment(graph.GatherND(half_hours, [[0, -1]]))
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
            weights.append(self._learned(to_learned[0], graph.Concat(*rows.cues, axis=0)))
        is_known = graph.Less(behavior, [[config.num_behaviors]])
        weights.append(graph.Cast(is_known, to=TensorProto.FLOAT))
        weights_Wn = graph.Concat(*weights, axis=0)
        if self.generates:
            index_n = graph.Range(0, graph.Gather(graph.Shape("history"), 1), 1)
            is_real_n = graph.Cast(graph.Less(index_n, "num_real"), to=TensorProto.FLOAT)
            weights_Wn = graph.Mul(weights_Wn, is_real_n)
        copied_1n = graph.MatMul(self._shares(to_gates, weights_Wn), weights_Wn)
        candidates_1C = self._candidates(self._network(to_head))
        return graph.ScatterElements(candidates_1C, behavior, copied_1n, axis=1, reduction="add"), z

    # The moment to predict for

    def _now(self, name: str) -> str:
        """UTC seconds or offset of the moment, (1, 1); any value where it is not known."""
        if not self.has_time:
            return self.graph.integers([[0]])
        return self.graph.Unsqueeze(name, [0])

    def _moment(self, half_hour: str) -> str:
        """Row of the tables of moments, (1,) int64: 0 for one that is not known."""
        return self.graph.Mul(self.graph.Add(half_hour, [1]), self.time_known)

    def _query(self, moment: str) -> str:
        """z (1, D), as `BehaviorModel.query`."""
        graph, model = self.graph, self.model
        if not self.has_time:
            return "hidden"
        # One row per half hour of the week and one for none, computed when the graph is loaded.
        weekdays, slots = weekdays_and_slots(graph)
        moments = graph.Add(graph.lookup(model.query_weekday, weekdays), graph.lookup(model.query_slot, slots))
        z = graph.Add("hidden", graph.Gather(moments, moment, axis=0))
        if self.config.query_context == "time_location":
            z = graph.Add(z, graph.lookup_known(model.query_location, "location"))
        return z

    # From the state

    def _of_state(self, z: str) -> list[str]:
        """Products of the state with the first layers of the learned kernel, of the gates and of the head, as far
        as the model has them, (1, ...) each: one product with the matrices side by side."""
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
        products = graph.Gemm(z, matrix, graph.floats(torch.cat(biases), "state_in.bias"))
        if len(weights) == 1:
            return [products]
        return graph.split(products, [len(weight) for weight in weights], axis=1)

    def _network(self, head: str) -> str:
        """p_0 (1, V), as the softmax of `BehaviorModel.logits`."""
        graph, layer = self.graph, self.model.head_out
        bias = graph.floats(layer.bias + self.model.never_V(), "head_out.bias")
        weight = graph.transposed(layer.weight)
        return graph.Softmax(graph.Gemm(self._gelu(head), weight, bias), axis=-1)

    def _candidates(self, network_1V: str) -> str:
        """(1, C), with 0 for the spare slots."""
        num_spare = self.config.num_spare
        if not num_spare:
            return network_1V
        nothing = self.graph.ConstantOfShape([1, num_spare])
        return self.graph.Concat(network_1V, nothing, axis=1)

    def _gelu(self, x: str) -> str:
        """x Phi(x), written so that ONNX Runtime finds its fused form in it."""
        graph = self.graph
        scaled = graph.Div(x, graph.floats(math.sqrt(2), "sqrt_2"))
        above = graph.Add(graph.Erf(scaled), graph.floats(1, "float_1"))
        return graph.Mul(graph.Mul(x, above), graph.floats(0.5, "float_half"))

    # Weights and gates of the history

    def _learned(self, to_learned_1Z: str, rows_Zn: str) -> str:
        """Weights of the learned kernel, (1, n); to_learned_1Z is a + A z of its formula."""
        graph, kernel = self.graph, self.model.learned_kernel
        rows_SZ = kernel.cue_in.weight.detach().numpy() @ rows_of_cues()
        rows_SZ[:, CUE_ROWS.index("frequency")] += kernel.cue_in.bias.detach().numpy()
        hidden_Sn = graph.MatMul(graph.floats(rows_SZ, "cue_rows"), rows_Zn)
        linear_1n = graph.MatMul(to_learned_1Z, rows_Zn)
        out_1S = graph.tensor(kernel.cue_out.weight)
        scores_1n = graph.Gemm(out_1S, graph.Relu(hidden_Sn), linear_1n)
        return graph.Exp(graph.Min(scores_1n, graph.floats([MAX_SCORE], "max_score")))

    def _shares(self, gates: str, weights_Wn: str) -> str:
        """Factor of each row of weights in the mixture, relative to the network, (1, W).

            g_k / E_k / g_0 = exp(l_k - l_0) (n + t) / (n_known + t) / (E_k + c_k)

        as in `BehaviorModel.gates`, where l are the scores of the gates; 0 for rows that are no kernel.

        gates  (1, 64), the part of the hidden layer that comes from the state.
        """
        graph, model, num_kernels = self.graph, self.model, self.num_kernels
        learned = ["learned"] * self.config.learned_kernel
        names = [*weight_rows(self.config.learned_kernel), *learned, "known"]
        row_of_kernel = [names.index(kernel) for kernel in (*KERNELS, *learned)]
        # The evidence of the kernels twice, then the number of past behaviors and of the known ones among them.
        pick = np.zeros((len(names), 2 * num_kernels + 2))
        for k, row in enumerate(row_of_kernel):
            pick[row, [k, num_kernels + k]] = 1
        pick[names.index("frequency"), -2] = pick[names.index("known"), -1] = 1
        shrinkage = model.log_shrinkage.detach().exp().numpy()
        added = [*np.ones(num_kernels), *shrinkage, VOCABULARY_TRUST, VOCABULARY_TRUST]
        evidence_W1 = graph.ReduceSum(weights_Wn, [1])
        picked = graph.bytes_as_floats(pick, "gate_evidence")
        logs = graph.Log(graph.Gemm(evidence_W1, picked, graph.floats(added, "gate_added"), transA=1))

        hidden_in = model.gate_in.weight[:, self.config.width :].detach().numpy().T
        of_logs = np.zeros((pick.shape[1], hidden_in.shape[1]))
        of_signs = np.zeros((len(names), hidden_in.shape[1]))
        of_logs[:num_kernels] = hidden_in[:num_kernels]
        of_signs[row_of_kernel] = hidden_in[num_kernels:]
        signs_W1 = graph.Sign(evidence_W1)
        hidden = graph.Gemm(signs_W1, graph.floats(of_signs, "gate_signs"), gates, transA=1)
        hidden = graph.Gemm(logs, graph.floats(of_logs, "gate_logs"), hidden)

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
        scores = graph.Gemm(logs, from_logs, graph.floats(bias_W, "gate_bias"))
        out = graph.floats(over_network, "gate_out.weight")
        scores = graph.Gemm(self._gelu(hidden), out, scores)
        return graph.Exp(graph.Min(scores, graph.floats([_MAX_GATE], "max_gate")))
