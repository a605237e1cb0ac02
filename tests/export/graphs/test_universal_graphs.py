"""The graphs of the universal model equal the model in torch, in standard operators of any runtime."""

import numpy as np
import onnx
import pytest
import torch
from make_tiny_universal import write_random_run

from edgebehave.bundles.inference import open_graph
from edgebehave_export.graphs.graph_builder import OPSET
from edgebehave_export.graphs.universal_graphs import universal_observe, universal_predict
from edgebehave_train.simulator.random_worlds import random_world
from edgebehave_train.universal.lookup import LOOKBACK, NUM_BEFORE
from edgebehave_train.universal.sequences import Sequences
from edgebehave_train.universal.universal_model import SUCCESS_EVENTS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def protos(model):
    return universal_observe(model), universal_predict(model)


@pytest.fixture(scope="module")
def graphs(protos):
    return [open_graph(proto.SerializeToString()) for proto in protos]


def rows(world):
    """(4, n) as the graphs take it: numbers from 1 up, 60 minutes east."""
    return np.stack([world.behavior + 1, world.location + 1, world.local_s - 3600, np.full_like(world.local_s, 60)])


def unordered(world):
    """The same world with clocks that sometimes go back, as local time does between time zones."""
    back = np.where(np.arange(len(world.local_s)) % 5 == 3, 9 * 3600, 0)
    return type(world)(behavior=world.behavior, location=world.location, local_s=world.local_s - back)


def test_they_are_small_and_standard(protos):
    observe, predict = protos
    assert len(observe.graph.node) <= 170
    assert len(predict.graph.node) <= 225
    for proto in protos:
        assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", OPSET)]
        onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize("change", [lambda world: world, unordered], ids=["in order", "clocks that go back"])
@pytest.mark.parametrize("length", [2, 3, 4, 6, 70, 448, 449, 460])
@torch.no_grad()
def test_success_is_that_of_the_model(model, graphs, length, change):
    world = change(random_world(np.random.default_rng(length), length))
    sequences = Sequences.of_arrays([(world.behavior, world.location, world.local_s)])
    query = torch.arange(length)[-6:]
    expected = model.successes(sequences, query)[0].numpy()
    for position, row in zip(query.tolist(), expected, strict=True):
        if position:
            start = max(0, position - LOOKBACK - NUM_BEFORE)
            (found,) = graphs[0].run(None, {"history": rows(world)[:, start : position + 1]})
            np.testing.assert_allclose(found, row, atol=1e-4)  # logarithms of small shares round by 1e-5


@pytest.mark.parametrize("change", [lambda world: world, unordered], ids=["in order", "clocks that go back"])
@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("num_past", [1, 2, 3, 4, 5, 63, 64, 65, 444, 445, 448, 500])
@torch.no_grad()
def test_probabilities_are_those_of_the_model(model, graphs, num_past, timed, change):
    world = change(random_world(np.random.default_rng(num_past), num_past + 1))
    sequences = Sequences.of_arrays([(world.behavior, world.location, world.local_s)])
    success = np.zeros((SUCCESS_EVENTS, model.config.num_kernels + 1), np.float32)
    num_rows = min(num_past, SUCCESS_EVENTS)
    success[SUCCESS_EVENTS - num_rows :] = model.successes(sequences, torch.arange(num_past))[0, -num_rows:]
    asked = sequences
    if not timed:  # a query before the last behavior tells the model so, even if its time is hidden
        asked = sequences._replace(local_s=torch.cat([sequences.local_s[:, :-1], sequences.local_s[:, -2:-1]], 1))
    answers = model(asked, torch.tensor([num_past]), torch.tensor([[timed]]))
    expected = answers.logits[0, 0].softmax(-1).numpy()
    history = rows(world)
    ids = np.unique(history[0, max(0, num_past - LOOKBACK) : num_past])
    inputs = {
        "history": history[:, :num_past][:, -(LOOKBACK + NUM_BEFORE) :],
        "ids": ids,
        "success": success,
        "time_s": history[2, num_past:],
        "utc_offset_min": history[3, num_past:],
        "time_known": np.array([int(timed)]),
    }
    (found,) = graphs[1].run(None, {name: np.ascontiguousarray(values) for name, values in inputs.items()})
    assert found.sum() == pytest.approx(1, abs=1e-5)
    order = dict.fromkeys(world.behavior.tolist())  # columns of the model
    column = {name: number for number, name in enumerate(order)}
    np.testing.assert_allclose(found[:-1], [expected[column[name - 1]] for name in ids.tolist()], atol=1e-5)
    assert found[-1] == pytest.approx(expected[-1], abs=1e-5)
