"""A bundle of a named model together with a universal one: its answer, what it follows from, and what is refused."""

import dataclasses
import json
import shutil
import warnings

import numpy as np
import pytest
from combined_bundle import POWERS, UNIVERSAL, change_manifest, write_combined
from lives import TINY

from edgebehave import BundleError, Predictor
from edgebehave.answers.combination import Powers
from edgebehave.bundles.bundle import Bundle, open_bundle

pytest.importorskip("onnxruntime")

START_S = 1_767_268_800
AT = {"at": START_S + 10**8, "utc_offset_min": 60}
FOREIGN = [f"foreign {number}" for number in range(9)]


@pytest.fixture
def folder(tmp_path):
    """A bundle of one's own to break."""
    return write_combined(tmp_path / "bundle")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(write_combined(tmp_path_factory.mktemp("combined") / "bundle"))


def life(words: list[str], num_events: int, start_s: int = START_S) -> list[dict]:
    rng = np.random.default_rng(num_events)
    at = start_s + rng.integers(1, 20_000, num_events).cumsum()
    names = np.minimum(rng.zipf(1.4, num_events), len(words)) - 1
    places = [f"at {place}" if place else None for place in rng.integers(0, 4, num_events)]
    return [
        {"event": words[name], "at": int(t), "location": place, "utc_offset_min": 60}
        for name, t, place in zip(names, at, places, strict=True)
    ]


def told(bundle, events: list[dict]) -> Predictor:
    predictor = Predictor(bundle)
    for event in events:
        predictor.observe("ada", **event)
    return predictor


@pytest.mark.parametrize("num_events", [1, 2, 40, 600])
@pytest.mark.parametrize("asked", [AT, {"at": None}])
def test_it_multiplies_what_both_models_answer(bundle, num_events, asked):
    words = list(bundle.vocabulary.behaviors[1:8])
    events = life([words[0], "own", *words[1:]], num_events)
    names, found = told(bundle, events).probabilities("ada", **asked)
    same, named = told(dataclasses.replace(bundle, lookup=None), events).probabilities("ada", **asked)
    of_user, universal = told(open_bundle(UNIVERSAL), events).probabilities("ada", **asked)
    assert names == same
    own = np.zeros(1 + len(names))
    own[[1 + names.index(name) for name in of_user]] = universal
    both = Powers(**POWERS).combine(np.append(0, named), own)
    calibration = bundle.manifest["calibration"]
    scores = both[1:] ** (1 / calibration["temperature"]) * np.exp(calibration["boost"] * np.sqrt(both[1:]))
    np.testing.assert_allclose(found, scores / scores.sum(), rtol=2e-5)
    assert np.abs(found - named).max() > 0.01


def test_without_habits_the_named_model_answers(bundle):
    words = list(bundle.vocabulary.behaviors[1:8])
    events = life(words, 40)
    found, named = (
        told(one, events).probabilities("ada", habits=False, **AT)[1]
        for one in (bundle, dataclasses.replace(bundle, lookup=None))
    )
    calibration = bundle.manifest["calibration"]
    scores = named ** (1 / calibration["temperature"]) * np.exp(calibration["boost"] * np.sqrt(named))
    np.testing.assert_allclose(found, scores / scores.sum(), atol=2e-3)


def test_a_user_may_come_to_be_foreign_and_back(bundle):
    """The states of the two universal models are not mixed up, with or without `advance`."""
    words = list(bundle.vocabulary.behaviors[1:8])
    events = life(words, 9) + life(FOREIGN, 90, START_S + 10**6) + life(words, 60, START_S + 10**7)
    lived, advanced = Predictor(bundle), Predictor(bundle)
    models = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, event in enumerate(events):
            for predictor in (lived, advanced):
                predictor.observe("ada", **event)
            advanced.advance(["ada"])
            if number % 3 == 0:
                names, probs = lived.probabilities("ada", **AT)
                anew = told(bundle, events[: number + 1]).probabilities("ada", **AT)
                assert (names, probs.tobytes()) == (anew[0], anew[1].tobytes())
                assert probs.tobytes() == advanced.probabilities("ada", **AT)[1].tobytes()
                models.append(set(words) <= set(names))
    changes = [one for one, before in zip(models, [None, *models], strict=False) if one != before]
    assert changes == [True, False, True]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m["lookup"]["powers"].update(named=-0.1), "powers must lie"),
        (lambda m: m["lookup"]["powers"].update(universal=[0.5, 0.5]), "missing or wrong values"),
        (lambda m: m["lookup"]["powers"].pop("unused"), "missing or wrong values: 'unused'"),
        (lambda m: m["lookup"].pop("model"), "missing or wrong values: 'model'"),
        (lambda m: m["lookup"]["model"].update(lookback=0), "missing or wrong values: lookback"),
        (lambda m: m.pop("lookup"), "missing or wrong values: 'lookup'"),
        (lambda m: m["calibration"].update(temperature=0), "temperature must be positive"),
        (lambda m: m["calibration"].update(temperature=5e-324), "temperature 5e-324 or boost"),
        (lambda m: m["calibration"].update(temperature=1.1e6), "temperature 1100000.0 or boost"),
        (lambda m: m["calibration"].update(boost=1.1e6), "or boost 1100000.0"),
        (lambda m: m["lookup"]["model"].update(lookback=445, history_events=513), "does not fit its model"),
        (lambda m: m["lookup"]["model"].update(success_columns=22), r"lookup\.onnx takes success as type"),
    ],
)
def test_a_lookup_that_does_not_fit_is_refused(folder, change, says):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    manifest["digest"] = ""
    if "lookup" not in manifest:
        manifest["lookup"] = None
        says = "missing or wrong values"
    change_manifest(folder, **manifest)
    with pytest.raises(BundleError, match=says):
        Bundle.open(folder)


def test_another_graph_in_its_place_is_refused(folder):
    shutil.copy(TINY / "int8" / "predict.onnx", folder / "lookup.onnx")
    change_manifest(folder)
    with pytest.raises(BundleError, match=r"lookup\.onnx takes \["):
        Bundle.open(folder)


def test_events_without_a_behavior_are_refused(folder):
    shutil.copy(TINY / "int8" / "vocabulary.json", folder)
    change_manifest(folder)
    with pytest.raises(BundleError, match=r"lookup\.onnx does not fit its model"):
        Bundle.open(folder)
