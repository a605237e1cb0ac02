"""Rows over a history: the kernels are those of the runtime, the cues those of training."""

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx.helper import make_tensor_value_info
from torch import nn

from edgebehave import habits
from edgebehave_export.graphs.clock import half_hour
from edgebehave_export.graphs.graph_builder import GraphBuilder
from edgebehave_export.graphs.history_rows import history_rows, rows_of_cues, weight_rows
from edgebehave_train.kernels.cues import CUES
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event


@pytest.fixture(scope="module")
def session():
    """The nodes alone: history, (1, n + 1) times and offsets and (1,) time_known -> weights and cues."""
    graph = GraphBuilder(nn.Module())
    half_hours = half_hour(graph, "times", "offsets")
    last = graph.node("GatherND", half_hours, graph.integers([[0, -1]]))
    moment = graph.node("Mul", graph.node("Add", last, graph.integers([1])), "time_known")
    rows = history_rows(graph, "times", half_hours, moment, time_known="time_known", learned_kernel=True)
    graph.node("Concat", *rows.weights, axis=0, name="weights")
    graph.node("Concat", *rows.cues, axis=0, name="cues")
    shapes = {"history": [4, "n"], "times": [1, "m"], "offsets": [1, "m"], "time_known": [1]}
    inputs = [make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in shapes.items()]
    outputs = [make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "n"]) for name in ("weights", "cues")]
    return onnxruntime.InferenceSession(graph.finished(inputs, outputs).SerializeToString())


def computed(session, columns, asked_s, offset_min, time_known):
    """Rows of the graph for a history given as columns."""
    history = np.stack([column.astype(np.int64) for column in columns])
    inputs = {
        "history": history,
        "times": np.append(history[2], asked_s)[None],
        "offsets": np.append(history[3], offset_min)[None],
        "time_known": np.array([int(time_known)]),
    }
    return session.run(["weights", "cues"], inputs)


@settings(deadline=None, max_examples=60)
@given(
    num_behaviors=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    time_known=st.booleans(),
    late_s=st.integers(-100_000, 10**8),
)
def test_kernel_weights_equal_those_of_the_runtime(session, num_behaviors, seed, time_known, late_s):
    rng = np.random.default_rng(seed)
    history = habits.HabitHistory(
        behavior=rng.integers(1, 5, num_behaviors),
        location=rng.integers(0, 3, num_behaviors),
        time_s=np.sort(rng.integers(-(10**7), 10**7, num_behaviors)),
        utc_offset_min=rng.choice([0, 60, -570], num_behaviors),
    )
    asked_s = int(history.time_s[-1]) + late_s
    expected = habits.kernel_weights(history, asked_s if time_known else None, 60)
    columns = (history.behavior, history.location, history.time_s, history.utc_offset_min)
    got, _ = computed(session, columns, asked_s, 60, time_known)
    # Exponents are sums of terms up to 256, of which float32 leaves a relative error of about 256 * 6e-8.
    for name, of_runtime in zip(habits.KERNELS, expected, strict=True):
        row = got[weight_rows(learned_kernel=True).index(name)]
        np.testing.assert_allclose(row, of_runtime, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("num_past", [1, 2, 3, 40])
@pytest.mark.parametrize("timed", [True, False])
def test_cues_are_those_of_training(session, tiny_store, num_past, timed):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    log = map_log(tiny_store, training_vocabulary(tiny_store, is_train)).behavior_log(is_train)
    start = int(log.user_start[5])
    past, row = slice(start, start + num_past), start + num_past
    pairs = PastBehaviors.of_log(log, torch.device("cpu")).pairs(torch.tensor([row]), torch.tensor([timed]))
    columns = (log.behavior, log.location, log.time_s, log.utc_offset_min)
    columns = [column[past] for column in columns]
    asked_s, offset_min = int(log.query_time_s[row]), int(log.utc_offset_min[row])
    _, rows = computed(session, columns, asked_s, offset_min, timed)
    cues = rows_of_cues() @ rows
    for cue, got, expected in zip(CUES, cues, pairs.cues, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5, err_msg=cue)
