"""Exported modules, run by ONNX Runtime, against torch; and what holds for every graph of a bundle."""

import numpy as np
import pytest
import torch

from edgebehave.bundles.inference import open_graph
from edgebehave_export.bundle import export_graphs
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.graphs.onnx_export import check_standard, export_observe
from edgebehave_export.graphs.web_observe import Observe
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig

SIZES = {"num_events": 9, "num_locations": 7, "num_behaviors": 6, "width": 16, "num_heads": 2, "learned_kernel": False}


def random_model(**changes):
    torch.manual_seed(1)
    changes = {"num_layers": 2, "window": 5, "num_spare": 3, **changes}
    model = BehaviorModel(ModelConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def observe(model):
    return open_graph(export_observe(model).SerializeToString())


def observe_inputs(num_new, num_cached, position=0, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "event": rng.integers(0, 9, num_new),
        "location": rng.integers(0, 7, num_new),
        "time_s": rng.integers(-(2**33), 2**33, num_new),
        "utc_offset_min": rng.choice([0, -210, 765], num_new),
        "position": np.array(position, np.int64),
        "cache": rng.standard_normal((4, num_cached, 2, 8)).astype(np.float32),
    }


def to_torch(inputs):
    return [torch.from_numpy(np.asarray(value)) for value in inputs.values()]


@pytest.mark.parametrize(("num_new", "num_cached"), [(1, 0), (1, 1), (1, 4), (7, 0), (3, 4), (9, 2)])
@pytest.mark.parametrize("position", [0, 1, 511, 512, 10**12 + 5])
def test_observe_equals_torch_for_all_lengths(model, observe, num_new, num_cached, position):
    inputs = observe_inputs(num_new, num_cached, position)
    hidden, new_rows = observe.run(["hidden", "new_rows"], inputs)
    with torch.no_grad():
        expected_hidden, expected_rows = Observe(model)(*to_torch(inputs))
    assert new_rows.shape == (4, num_new, 2, 8)
    # 1e-6 of the largest value. Two float32 orders of summing are 2.1e-6 apart with AVX2 alone, and either is up to
    # 3.3e-6 from the same in float64.
    np.testing.assert_allclose(hidden, expected_hidden, atol=4e-6, rtol=1e-5)
    np.testing.assert_allclose(new_rows, expected_rows, atol=4e-6, rtol=1e-5)


def test_observe_takes_private_ids_for_unknown(observe):
    inputs = observe_inputs(3, 2)
    unknown = inputs | {"event": np.zeros(3, np.int64), "location": np.zeros(3, np.int64)}
    private = inputs | {"event": np.array([9, 40, 2**40]), "location": np.array([7, 8, 2**40])}
    for one, other in zip(observe.run(None, unknown), observe.run(None, private), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_weights_give_the_same_bytes_and_name_no_machine(tiny_model, fp32_graphs, web_graphs):
    for target, graphs in (("native", fp32_graphs), ("web", web_graphs)):
        assert graph_bytes(graphs) == graph_bytes(export_graphs(tiny_model, target))
    contents = graph_bytes(web_graphs)
    for name, proto in web_graphs.items():
        check_standard(proto)
        assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 18)]
        for trace in (b".py", b"site-packages", b"stack_trace"):
            assert trace not in contents[name]


def test_a_window_of_one_event_has_nothing_to_cache():
    with pytest.raises(ValueError, match="window of at least 2 events, got 1"):
        export_observe(random_model(window=1))
