"""predict.onnx and next.onnx against the model, by the functions that evaluation scores with."""

import numpy as np
import pytest
import torch

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.bundles.inference import open_graph
from edgebehave.habits import HABIT_EVENTS
from edgebehave_export.bench.model_answer import ModelAnswer
from edgebehave_export.graphs.predict_graph import next_graph, predict_graph
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig

SIZES = {"num_events": 9, "num_locations": 7, "num_behaviors": 6, "width": 16, "num_heads": 2}
TOLERANCE = 1e-6
"""Of probabilities: a few roundings in float32, in another order than torch. A kernel of the wrong hour or a
gate of another kernel moves them by a hundredth and more."""


def random_model(**changes):
    torch.manual_seed(1)
    changes = {"num_layers": 2, "window": 5, "num_spare": 3, **changes}
    model = BehaviorModel(ModelConfig(**SIZES, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def random_history(rng, num_history, config):
    return np.stack(
        [
            # 0: behaviors of the user's own that have no slot left.
            rng.integers(0, config.num_behaviors + config.num_spare, num_history),
            rng.integers(0, 2**40, num_history) % 5,
            rng.integers(0, 10**6, num_history).cumsum(),
            np.full(num_history, -210),
        ]
    )


CONFIGS = [
    {"query_context": "time", "habits": True},
    {"query_context": "time", "habits": False, "learned_kernel": False},
    {"query_context": "time", "habits": True, "learned_kernel": True},
    {"query_context": "none", "habits": True, "learned_kernel": True, "num_spare": 0},
    {"query_context": "none", "habits": True},
    {"query_context": "none", "habits": False, "learned_kernel": False},
    {"query_context": "time_location", "habits": True, "num_spare": 0},
]


@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_predict_equals_the_model_and_its_last_step_the_formula(changes):
    model = random_model(**changes)
    config, rng = model.config, np.random.default_rng(3)
    shift = ProbabilityShift(
        log_ratio_V=np.random.default_rng(2).normal(size=config.num_behaviors), temperature=1.3, boost=0.8
    )
    session = open_graph(predict_graph(model, shift).SerializeToString())
    names = {given.name for given in session.get_inputs()}
    for num_history in (1, 2, 3, 40, HABIT_EVENTS):
        for time_known in (1, 0):
            history = random_history(rng, num_history, config)
            moment = (int(history[2, -1]) + 5000, 60) if time_known else None
            # Where the time is not known, the input may hold anything.
            time_s, offset_min = moment or (-(2**63), 2**40)
            hidden, tail = rng.standard_normal((1, 16)).astype(np.float32), 0.4 * time_known
            values = {
                "hidden": hidden,
                "time_s": np.array([time_s]),
                "utc_offset_min": np.array([offset_min]),
                "time_known": np.array([time_known]),
                "location": np.array([2**40]),
                "tail": np.array(tail, np.float32),
                "history": history,
            }
            (probs,) = session.run(["probs"], {name: values[name] for name in names})
            mixture = ModelAnswer(model, history, moment, location=2**40)(torch.from_numpy(hidden)).numpy()
            assert mixture.sum() == pytest.approx(1, abs=1e-5)
            np.testing.assert_allclose(probs, shift.apply(mixture, tail), atol=TOLERANCE)
            has_unknown = config.habits and (history[0] == 0).any()
            assert (probs[0] > 0) == has_unknown


@pytest.mark.parametrize(
    "changes",
    [{}, {"habits": False, "learned_kernel": False}, {"learned_kernel": False}, {"query_context": "none"}],
    ids=str,
)
def test_next_equals_the_model_and_copies_from_what_happened_alone(changes):
    model = random_model(**{"query_context": "time", "learned_kernel": True, **changes}, generation_heads=True)
    config, rng = model.config, np.random.default_rng(3)
    session = open_graph(next_graph(model).SerializeToString())
    names = {given.name for given in session.get_inputs()}
    for num_history in (1, 2, 40, HABIT_EVENTS):
        for num_real in {1, num_history // 2, num_history}:
            history = random_history(rng, num_history, config)
            moment = int(history[2, -1]) + 5000, 60
            hidden = rng.standard_normal((1, 16)).astype(np.float32)
            values = {
                "hidden": hidden,
                "time_s": np.array(moment[:1]),
                "utc_offset_min": np.array(moment[1:]),
                "history": history,
                "num_real": np.array(num_real),
            }
            inputs = {name: values[name] for name in names}
            probs, scores, z = session.run(["probs", "event_scores", "z"], inputs)
            expected = ModelAnswer(model, history, moment, num_real=num_real)(torch.from_numpy(hidden)).numpy()
            np.testing.assert_allclose(probs, expected, atol=TOLERANCE)
            # A softmax over all events but 0 is training's, if all of them stand for one behavior.
            with torch.no_grad():
                event_to_behavior = torch.ones(config.num_events, dtype=torch.int64)
                log_probs = model.generation.event_log_probs(
                    torch.from_numpy(z), torch.ones(1, dtype=torch.int64), model.event, event_to_behavior
                )
            shares = np.exp(scores[1:]) / np.exp(scores[1:]).sum()
            np.testing.assert_allclose(shares, log_probs.exp()[0, 1:], atol=TOLERANCE)
            if config.query_context == "none":
                np.testing.assert_array_equal(z, hidden)


def test_predict_has_few_nodes():
    """In the file, some of which are done once, when it is loaded."""
    model = random_model(query_context="time", learned_kernel=True)
    assert len(predict_graph(model).graph.node) <= 107


@pytest.mark.parametrize("garbage", [-(2**63), -1, 2**62, 2**63 - 1])
def test_a_moment_that_is_not_known_may_be_anything(garbage):
    model = random_model(query_context="time", learned_kernel=True)
    session = open_graph(predict_graph(model).SerializeToString())
    inputs = {
        "hidden": np.ones((1, 16), np.float32),
        "time_known": np.array([0]),
        "history": np.array([[1, 2, 1], [0, 3, 0], [50, 6000, 90_000], [0, 0, 60]]),
        "tail": np.array(0, np.float32),
    }
    answers = [
        session.run(None, {**inputs, "time_s": np.array([of]), "utc_offset_min": np.array([of])}) for of in (0, garbage)
    ]
    np.testing.assert_array_equal(*answers)
