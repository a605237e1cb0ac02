"""The graph of the universal model equals the model in torch, in standard operators of any runtime."""

import numpy as np
import onnx
import pytest
import torch
from make_tiny_universal import write_random_run

from edgebehave.bundles.inference import open_graph
from edgebehave_export.graphs.graph_builder import OPSET
from edgebehave_export.graphs.universal_graphs import universal_predict
from edgebehave_train.simulator.random_worlds import random_world
from edgebehave_train.universal.lookup import LOOKBACK, NUM_BEFORE
from edgebehave_train.universal.sequences import Sequences
from edgebehave_train.universal.universal_model import SUCCESS_EVENTS

SATURDAY_S = 172_800


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def proto(model):
    return universal_predict(model)


@pytest.fixture(scope="module")
def graph(proto):
    return open_graph(proto.SerializeToString())


def unordered(world):
    """The same world with clocks that sometimes go back, as local time does between time zones."""
    back = np.where(np.arange(len(world.local_s)) % 5 == 3, 9 * 3600, 0)
    return type(world)(behavior=world.behavior, location=world.location, local_s=world.local_s - back)


def inputs(world, success, timed=True):
    """What the graph reads to predict the last behavior of a world, and the names of the candidates."""
    num_past = len(world.behavior) - 1
    local_s = world.local_s.copy()
    if not timed:
        local_s[-1] = local_s[-2]
    names, locations = world.behavior + 1, world.location + 1
    names[-1] = locations[-1] = 0
    history = np.stack([names, locations, *np.divmod(local_s - SATURDAY_S, 86_400)]).astype(np.float32)
    last = {}
    for age, name in enumerate(world.behavior[:num_past][::-1][:LOOKBACK].tolist()):
        last.setdefault(name, -1 - age)
    given = {
        "history": np.ascontiguousarray(history[:, -(LOOKBACK + NUM_BEFORE + 2) :]),
        "last": np.array(list(last.values())),
        "success": success,
        "known": np.array([timed], np.float32),
    }
    return given, list(last)


def past_success(model, sequences, num_past):
    """The rows before the last behavior, as the graph takes them."""
    rows = np.zeros((SUCCESS_EVENTS - 1, model.config.num_kernels + 2), np.float32)
    num_rows = min(num_past - 1, SUCCESS_EVENTS - 1)
    if num_rows:
        rows[-num_rows:, :-1] = model.successes(sequences, torch.arange(num_past - 1))[0, -num_rows:]
        rows[-num_rows:, -1] = 1
    return rows


def test_it_is_small_and_standard(proto):
    assert len(proto.graph.node) <= 200
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", OPSET)]
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize("change", [lambda world: world, unordered], ids=["in order", "clocks that go back"])
@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("num_past", [1, 2, 3, 4, 5, 63, 64, 65, 444, 445, 448, 449, 500])
@torch.no_grad()
def test_answers_are_those_of_the_model(model, graph, num_past, timed, change):
    world = change(random_world(np.random.default_rng(num_past), num_past + 1))
    sequences = Sequences.of_arrays([(world.behavior, world.location, world.local_s)])
    asked = sequences
    if not timed:  # a query before the last behavior tells the model so, even if its time is hidden
        asked = sequences._replace(local_s=torch.cat([sequences.local_s[:, :-1], sequences.local_s[:, -2:-1]], 1))
    answers = model(asked, torch.tensor([num_past]), torch.tensor([[timed]]))
    expected = answers.logits[0, 0].softmax(-1).numpy()
    given, names = inputs(world, past_success(model, sequences, num_past), timed)
    probs, row = graph.run(["probs", "new_success"], given)
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    column = {name: number for number, name in enumerate(dict.fromkeys(world.behavior.tolist()))}  # of the model
    np.testing.assert_allclose(probs[:-1], [expected[column[name]] for name in names], atol=1e-5)
    assert probs[-1] == pytest.approx(expected[-1], abs=1e-5)
    # Logarithms of small shares round by 1e-5.
    np.testing.assert_allclose(row[:-1], model.successes(sequences, torch.tensor([num_past - 1]))[0, 0], atol=1e-4)
    assert row[-1] == 1


@pytest.mark.parametrize("num_past", [1, 7, 449])
def test_the_row_of_the_last_behavior_depends_on_no_question(model, graph, num_past):
    world = random_world(np.random.default_rng(3), num_past + 1)
    given, _ = inputs(world, np.zeros((SUCCESS_EVENTS - 1, model.config.num_kernels + 2), np.float32))
    (row,) = graph.run(["new_success"], given)
    other = given["history"].copy()
    other[2:, -1] += 5000
    changed = {"history": other, "known": np.zeros(1, np.float32), "success": given["success"] + 1}
    np.testing.assert_array_equal(graph.run(["new_success"], given | changed)[0], row)
