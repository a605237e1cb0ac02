"""The fused graph against torch, event by event."""

import numpy as np
import pytest
import torch

from edgebehave.bundles.inference import open_graph
from edgebehave.time_features import weekday_and_slot
from edgebehave_export.graphs.native_observe import native_observe
from edgebehave_export.graphs.onnx_export import export_observe
from edgebehave_export.graphs.predict_graph import predict_graph
from edgebehave_export.parity.replay import ClientHistory, Device
from edgebehave_export.quantization import quantize
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel, ModelConfig

NUM_EVENTS = 2 * ROTARY_PERIOD + 80


def random_model(**changes):
    torch.manual_seed(2)
    sizes = {"num_events": 9, "num_locations": 7, "num_behaviors": 6, "width": 32, "num_heads": 2}
    model = BehaviorModel(ModelConfig(**{**sizes, "num_layers": 3, "window": 7, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def predict(model):
    return predict_graph(model).SerializeToString()


def device(model, observe, predict):
    graphs = {"observe.onnx": observe.SerializeToString(), "predict.onnx": predict}
    return Device(model.config, graphs)


def random_history(num_events=NUM_EVENTS):
    rng = np.random.default_rng(4)
    return ClientHistory(
        event=rng.integers(0, 12, num_events),  # 9 and above are private ids
        location=rng.integers(0, 10, num_events),
        behavior=rng.integers(1, 6, num_events),
        time_s=rng.integers(0, 40_000, num_events).cumsum() - 10**8,
        utc_offset_min=rng.choice([0, 345, -210], num_events),
    )


def torch_states(model, history):
    """(N, D), all events in one packed row."""
    config = model.config
    weekday, slot = weekday_and_slot(history.time_s, history.utc_offset_min)
    event = history.event * (history.event < config.num_events)
    location = history.location * (history.location < config.num_locations)
    rows = [torch.from_numpy(column)[None] for column in (event, location, weekday, slot)]
    plan = plan_attention(torch.zeros_like(rows[0]), config.window, "dense")
    with torch.no_grad():
        return model.hidden(*rows, plan)[0].numpy()


@pytest.mark.parametrize("form", [native_observe, export_observe], ids=["native", "web"])
def test_both_forms_equal_torch_while_windows_and_positions_wrap(model, predict, form):
    history = random_history()
    states = device(model, form(model), predict).stream(history)
    np.testing.assert_allclose(states, torch_states(model, history), atol=2e-5)


def test_a_state_rebuilt_is_equal_to_the_bit(model, predict):
    history = random_history(200)
    for graph in (
        native_observe(model),
        quantize(native_observe(model), large=1000, in_blocks=True),
    ):
        ring = device(model, graph, predict)
        np.testing.assert_array_equal(ring.rebuild(history), ring.stream(history)[-1])


@pytest.mark.parametrize("num_events", [9, 1100], ids=["small", "large"])
def test_private_ids_are_unknown_in_floats_and_integers(num_events):
    """A table of 1,100 rows of 32 stays integers, one of 9 becomes floats again."""
    model = random_model(num_events=num_events, num_locations=num_events, width=128, num_layers=1)
    cache = np.zeros((1, 2, 7, 64), np.float32)
    inputs = {"time_s": np.array([7000]), "utc_offset_min": np.array([60])}
    inputs |= {"position": np.array(0), "num_cached": np.array(0), "key_0": cache, "value_0": cache}
    fp32 = native_observe(model)
    for graph in (fp32, quantize(fp32, in_blocks=True)):
        session = open_graph(graph.SerializeToString())
        states = [
            session.run(["hidden"], {"event": np.array([of]), "location": np.array([of]), **inputs})
            for of in (0, num_events, 2**40)
        ]
        np.testing.assert_array_equal(states[0], states[1])
        np.testing.assert_array_equal(states[0], states[2])
        known = {"event": np.array([1]), "location": np.array([1]), **inputs}
        assert np.abs(session.run(["hidden"], known)[0] - states[0][0]).max() > 0.01


def test_integers_stay_close(model, predict):
    """Eight bits for weights and inputs move a state by a few hundredths of its spread."""
    history = random_history(100)
    graph = quantize(native_observe(model), large=1000, in_blocks=True)
    fused = [node for node in graph.graph.node if node.op_type == "MatMulNBits"]
    assert len(fused) == 4 * model.config.num_layers
    states, expected = device(model, graph, predict).stream(history), torch_states(model, history)
    assert np.abs(states - expected).mean() < 0.05 * expected.std()


def test_few_nodes(model):
    """What there is beside the layers: lookups and time. A node more costs half a microsecond."""
    assert len(native_observe(model).graph.node) <= 24 + 9 * model.config.num_layers


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_heads": 4}, "needs a head width that 16 divides, got 8: export for the target web"),
        ({"window": 1}, "window of at least 2 events, got 1"),
    ],
)
def test_what_cannot_be_exported_says_why(changes, says):
    with pytest.raises(ValueError, match=says):
        native_observe(random_model(**changes))
