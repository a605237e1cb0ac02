"""The tail shift, abstention and prediction sets through the Predictor."""

from pathlib import Path

import numpy as np
import pytest

from edgebehave import Predictor
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")

TINY = Path(__file__).parent / "tiny_bundle"
START_S = 1_767_268_800


@pytest.fixture(scope="module", params=["fp32", "int8", "web"])
def bundle(request) -> Bundle:
    return Bundle.open(TINY / request.param)


@pytest.fixture
def predictor(bundle) -> Predictor:
    """A predictor of a user with a habit of three behaviors and a name of her own."""
    predictor = Predictor(bundle)
    events = bundle.vocabulary.events[1:4]
    for i in range(40):
        event = "sourdough.feed" if i % 10 == 9 else events[i % 3]
        predictor.observe("ada", event, at=START_S + 3600 * i)
    return predictor


def probabilities(predictor, tail=0.0, user="ada"):
    names, probs = predictor.probabilities(user, at=START_S + 150_000, tail=tail)
    return dict(zip(names, probs.astype(np.float64), strict=True))


@pytest.mark.parametrize("tail", [0.25, 1])
def test_tail_multiplies_by_the_ratio_of_the_bundle(predictor, bundle, tail):
    plain, turned = probabilities(predictor), probabilities(predictor, tail)
    expected = np.array(list(plain.values()))
    known = bundle.shape.num_behaviors - 1
    expected[:known] *= np.exp(tail * bundle.log_ratio[1:])
    np.testing.assert_allclose(list(turned.values()), expected / expected.sum(), rtol=2e-4)
    # The ratio of her own name is 1.
    assert turned["sourdough.feed"] / expected[-1] == pytest.approx(1 / expected.sum(), rel=1e-3)


def test_tail_lifts_rare_behaviors(predictor, bundle):
    rarest = bundle.vocabulary.behaviors[-1]
    most_frequent = bundle.vocabulary.behaviors[1]
    shares = [probabilities(predictor, tail) for tail in (0, 0.25, 0.5, 0.75, 1)]
    odds = [share[rarest] / share[most_frequent] for share in shares]
    assert odds == sorted(odds)
    assert odds[-1] > odds[0]


def test_a_new_user_gets_shifted_priors(predictor, bundle):
    plain = np.array(list(probabilities(predictor, 0, "new").values()))
    np.testing.assert_array_equal(plain.astype(np.float32), bundle.class_priors[1:])
    turned = np.array(list(probabilities(predictor, 1, "new").values()))
    expected = plain * np.exp(bundle.log_ratio[1:])
    np.testing.assert_allclose(turned, expected / expected.sum(), rtol=1e-5)


def test_too_little_confidence_is_no_prediction(predictor):
    best = predictor.predict("ada", at=START_S + 150_000)[0].probability
    options = {"at": START_S + 150_000}
    assert predictor.predict("ada", min_confidence=best + 1e-4, **options) == []
    assert len(predictor.predict("ada", min_confidence=best - 1e-4, **options)) == 5


def test_a_set_is_a_prefix_of_the_ranking_and_grows_with_coverage(predictor, bundle):
    ranking = predictor.predict("ada", 10**6, at=START_S + 150_000)
    sizes = []
    for coverage in (0, 0.3, 0.5, 0.8, 0.9, 0.97, 1):
        members = predictor.prediction_set("ada", coverage, at=START_S + 150_000)
        assert members == ranking[: len(members)]
        threshold = bundle.thresholds.at(coverage)
        assert all(p.probability >= threshold for p in members[1:])
        sizes.append(len(members))
    assert sizes == sorted(sizes)
    assert sizes[0] >= 1
    assert sizes[-1] == sum(p.probability > 0 for p in ranking)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"tail": 1.5}, ValueError, "tail must lie in 0..1, got 1.5"),
        ({"tail": float("nan")}, ValueError, "tail must lie in 0..1, got nan"),
        ({"tail": "much"}, TypeError, "tail must be a number, got 'much'"),
        ({"min_confidence": -1}, ValueError, "min_confidence must lie in 0..1"),
        ({"min_confidence": True}, TypeError, "min_confidence must be a number"),
    ],
)
def test_numbers_out_of_range_are_explained(predictor, wrong, error, says):
    with pytest.raises(error, match=says):
        predictor.predict("ada", **wrong)


def test_a_coverage_out_of_range_is_explained(predictor):
    with pytest.raises(ValueError, match=r"coverage must lie in 0\.\.1, got 90"):
        predictor.prediction_set("ada", 90)


def test_without_a_bundle_tail_and_sets_are_refused():
    predictor = Predictor(model="habits")
    predictor.observe("ada", "mail.open", at=START_S)
    with pytest.raises(ValueError, match="tail needs the class priors of a bundle"):
        predictor.predict("ada", tail=0.5)
    with pytest.raises(ValueError, match="prediction_set needs the thresholds of a bundle"):
        predictor.prediction_set("ada")
    assert predictor.predict("ada", tail=0)[0].behavior == "mail.open"
    # After one event a third of the probability is left for that name; the rest is for new ones.
    assert predictor.predict("ada", min_confidence=0.3)[0].behavior == "mail.open"
    assert predictor.predict("ada", min_confidence=0.5) == []
    assert predictor.predict("ben", min_confidence=0.5) == []
