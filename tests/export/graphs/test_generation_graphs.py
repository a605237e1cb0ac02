"""wait.onnx against the waiting times of training."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgebehave.bundles.inference import open_graph
from edgebehave.bundles.model_shape import WAIT_GRAPH
from edgebehave_export.bundle import export_graphs
from edgebehave_export.graphs.generation_graphs import WaitingTimes, pace_edges
from edgebehave_export.graphs.onnx_export import export_wait
from edgebehave_train.kernels.copy_kernels import GAP_KERNELS, Occurrences, gap_weights
from edgebehave_train.kernels.time_gaps import NUM_PACES, GapDistribution, bin_of_gap, pace_of_bin
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig

SHAPE = {"num_events": 6, "num_locations": 5, "num_behaviors": 6, "width": 16, "num_heads": 1}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    config = ModelConfig(**SHAPE, num_layers=1, window=4, generation_heads=True)
    model = BehaviorModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    gaps = np.exp(rng.normal(8, 3, 3000)).astype(np.int64)
    model.generation.count(gaps, rng.integers(0, 48, 3000), rng.random(3000) < 0.3)
    return model


@pytest.fixture(scope="module")
def graph(model):
    return open_graph(export_wait(model).SerializeToString())


def random_history(num_behaviors, seed):
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            rng.integers(1, 5, num_behaviors),
            rng.integers(0, 3, num_behaviors),
            np.cumsum(np.exp(rng.normal(8, 3, num_behaviors)).astype(np.int64)) + 1_600_000_000,
            rng.choice([0, 60, -570], num_behaviors),
        ]
    )


def by_training(model, hidden, history):
    """The same distribution from the functions that generation uses, bins spread evenly."""
    behavior, location, time_s, utc_offset_min = history[:, None]
    occurred = Occurrences.of_columns(
        behavior=behavior, event=behavior, location=location, time_s=time_s, utc_offset_min=utc_offset_min
    )
    index = np.arange(history.shape[1])[None]
    weights = gap_weights(
        occurred.shifted(),
        occurred.at(np.s_[:, -1:]),
        index[:, ::-1],
        index >= 1,
        index >= 2,
    )
    paces = pace_of_bin(bin_of_gap(occurred.gap_s[0, 1:]))
    counts = np.bincount(paces, minlength=NUM_PACES).astype(np.float32)
    heads = model.generation
    with torch.no_grad():
        evidence = torch.from_numpy(weights.sum(2).T)
        gates = heads.gap_gate(hidden, evidence).exp()
        network = heads.gap_log_probs(hidden, torch.from_numpy(counts)[None]).exp()
    scale = (gates[:, 1:] / evidence.clamp_min(1e-9)).numpy()
    values = heads.gap_values_BQ.numpy()
    return GapDistribution.of_mixture(
        (gates[:, :1] * network).numpy(),
        np.full((1, *values.shape), 1 / values.shape[1]),
        values,
        np.einsum("uk,kuc->uc", scale, weights),
        occurred.gap_s,
    )


@settings(deadline=None, max_examples=40)
@example(num_behaviors=14, seed=194)  # a gap that float32 rounds up
@given(num_behaviors=st.integers(1, 60), seed=st.integers(0, 2**16))
def test_survival_is_that_of_training(model, graph, num_behaviors, seed):
    history = random_history(num_behaviors, seed)
    hidden = torch.randn(1, 16, generator=torch.Generator().manual_seed(seed))
    gap_s, probs = graph.run(
        ["gap_s", "probs"],
        {"hidden": hidden.numpy(), "history": history, "num_real": np.array(num_behaviors)},
    )
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    expected = by_training(model, hidden, history)
    for t in (0, 30, 600, 3600, 86400, *np.diff(history[2])[:5]):
        # The graph's gaps are float32: beyond 2^24 s, 194 days, one may round to above itself.
        later = probs[gap_s > np.float32(t)].sum()
        assert later == pytest.approx(expected.survival(t)[0], abs=1e-5)


def test_paces_begin_where_training_says(model):
    edges = pace_edges().numpy()
    assert edges[0] == 0
    np.testing.assert_array_equal(pace_of_bin(bin_of_gap(edges)), np.arange(NUM_PACES))


def test_only_heads_bring_the_graph(model):
    assert WAIT_GRAPH in export_graphs(model)
    plain = BehaviorModel(ModelConfig(**SHAPE, num_layers=1, window=4))
    assert WAIT_GRAPH not in export_graphs(plain)
    with pytest.raises(ValueError, match="no waiting times"):
        WaitingTimes(plain)
    assert len(GAP_KERNELS) == 7  # a new one has to come into the graph
