"""A bundle with the graphs of generation is read, tried and used, or refused when it is opened."""

import json
import shutil

import numpy as np
import pytest
from generating_bundle import GENERATION, write_generating
from lives import START_S

from edgebehave import BundleError, Predictor
from edgebehave.bundles.bundle import Bundle, BundleParts, _generation
from edgebehave.bundles.manifest import digested_manifest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

HOUR_S = 3600


def test_it_generates_what_its_graphs_say(tmp_path):
    predictor = Predictor(Bundle.open(write_generating(tmp_path / "bundle")))
    vocabulary = predictor._vocabulary
    name = vocabulary.events[vocabulary.event_to_behavior.index(1)]
    predictor.observe("ada", name, at=START_S, utc_offset_min=0)
    events = predictor.generate("ada", 3, seed=1, at=None)
    assert [event.time_s for event in events] == [START_S + HOUR_S * i for i in (1, 2, 3)]
    assert {event.behavior for event in events} == {vocabulary.behaviors[1]}
    assert Predictor.load(tmp_path / "bundle").model == "bundle"


@pytest.mark.parametrize(
    ("graph", "outputs", "says"),
    [
        ("wait", {"gap_s": [-1.0, "60 n"]}, "numbers that are no waiting times"),
        ("wait", {"gap_s": [2.0**40, "60 n"]}, "numbers that are no waiting times"),
        ("wait", {"gap_s": [1.0, 2.0, "60 n"]}, "numbers that are no waiting times"),
        ("wait", {"gap_s": ["60 n"], "probs": ["0 n"]}, "waiting times for"),
        ("wait", {"probs": [1.01, "0 n"]}, "wait.onnx gives numbers that are no probabilities"),
        ("next", {"probs": 1.01}, "next.onnx gives numbers that are no probabilities"),
        ("place", {"copied": ["0 n", 0.0]}, "copies of"),
        ("place", {"probs": -1.0}, "place.onnx gives numbers that are no probabilities"),
        ("place", {"copied": ["0.4 n"]}, "place.onnx gives numbers that are no probabilities"),
    ],
)
def test_answers_that_cannot_be_are_refused(tmp_path, graph, outputs, says):
    shape = BundleParts.read(write_generating(tmp_path / "plain")).shape
    sizes = {"next": shape.num_behaviors + shape.num_spare, "place": shape.num_locations}
    changed = {
        name: np.append(np.float32(each), np.zeros(sizes[graph] - 1, np.float32)) if isinstance(each, float) else each
        for name, each in outputs.items()
    }
    with pytest.raises(BundleError, match=says):
        Bundle.open(write_generating(tmp_path / "bundle", **{graph: changed}))


def behavior_observed(bundle: Bundle) -> Predictor:
    predictor = Predictor(bundle)
    vocabulary = predictor._vocabulary
    predictor.observe("ada", vocabulary.events[vocabulary.event_to_behavior.index(1)], at=START_S, utc_offset_min=0)
    return predictor


@pytest.mark.parametrize(
    ("graph", "outputs", "says"),
    [
        ("next", {"probs": 0.0}, r"next\.onnx gives no candidate a probability"),
        ("place", {"probs": 0.0}, r"place\.onnx gives no candidate a probability"),
        ("wait", {"gap_s": [2.0**39, "60 n"]}, r"wait\.onnx leads beyond the year 9998"),
    ],
)
def test_an_event_that_cannot_be_drawn_is_an_error(tmp_path, graph, outputs, says):
    """The first one drew a name by NaN, with a warning of numpy; of the last one the time was no datetime."""
    shape = BundleParts.read(write_generating(tmp_path / "plain")).shape
    sizes = {"next": shape.num_behaviors + shape.num_spare, "place": shape.num_locations}
    changed = {n: np.full(sizes[graph], each, np.float32) if each == 0 else each for n, each in outputs.items()}
    predictor = behavior_observed(Bundle.open(write_generating(tmp_path / "bundle", **{graph: changed})))
    with pytest.raises(BundleError, match=says):
        predictor.generate("ada", 1, seed=1, at=None)


def test_waiting_times_of_a_number_that_varies_are_an_error():
    """A first run cannot try every number of behaviors."""
    from edgebehave.bundles.probe import check_waiting_times

    for num_past, fits in ((1, True), (30, True), (2, False)):
        count = num_past * (num_past + 3)
        gap_s, probs = np.ones(count), np.zeros(count)
        if fits:
            check_waiting_times(gap_s, probs, num_past, 3)
        else:
            with pytest.raises(BundleError, match="10 waiting times for 2 behaviors"):
                check_waiting_times(gap_s, probs, num_past, 3)
    with pytest.raises(BundleError, match="2 waiting times for 2 behaviors"):
        check_waiting_times(np.ones(2), np.zeros(2), 2, None)


def test_quantiles_divide_the_waiting_times(tmp_path):
    waits = {"gap_s": [1.0, 2.0, 3.0, "60 n"], "probs": [0.5, 0.25, 0.25, "0 n"]}
    Bundle.open(write_generating(tmp_path / "three", wait=waits, generation=GENERATION | {"num_quantiles": 3}))
    with pytest.raises(BundleError, match="waiting times for"):
        Bundle.open(write_generating(tmp_path / "two", wait=waits, generation=GENERATION | {"num_quantiles": 2}))


@pytest.mark.parametrize("missing", ["wait.onnx", "next.onnx", "place.onnx"])
def test_with_one_of_the_graphs_missing_it_predicts_and_does_not_generate(tmp_path, missing):
    folder = write_generating(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"][missing]
    (folder / missing).unlink()
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))
    bundle = Bundle.open(folder)
    assert bundle.generation is None
    assert (bundle.wait is None) == (missing == "wait.onnx")
    with pytest.raises(ValueError, match="generate needs a bundle that generates"):
        Predictor(bundle).generate("ada")


def test_a_graph_of_another_interface_is_refused(tmp_path):
    folder = write_generating(tmp_path / "bundle")
    other = write_generating(tmp_path / "other")
    shutil.copy(folder / "place.onnx", other / "next.onnx")
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["next.onnx"] = manifest["files"]["place.onnx"]
    (other / "manifest.json").write_bytes(digested_manifest(manifest))
    with pytest.raises(BundleError, match=r"next\.onnx (takes|gives) .*its manifest promises"):
        Bundle.open(other)


def rates(first: float) -> list[list[float]]:
    return [[first, *[0.5] * 47], [0.5] * 48]


def test_numbers_of_generation_are_bounded():
    for num_quantiles in (1, 1024):
        assert _generation({"num_quantiles": num_quantiles, "clock_rate": rates(1)})[0] == num_quantiles
    assert _generation(GENERATION)[1].shape == (2, 48)
    for num_quantiles in (0, 1025, 2.0, True):
        with pytest.raises(ValueError, match=f"num_quantiles: {num_quantiles}"):
            _generation({"num_quantiles": num_quantiles, "clock_rate": rates(1)})
    assert _generation({"num_quantiles": 1, "clock_rate": rates(1e-12)})[1].min() == 1e-12
    for clock_rate in (rates(0), rates(5e-324), rates(1.01), rates(0.5)[:1], [[0.5] * 47] * 2, [[0.5] * 48] * 3):
        with pytest.raises(ValueError, match="clock_rate"):
            _generation({"num_quantiles": 1, "clock_rate": clock_rate})
