"""Predictions within a time, with "nothing" as a candidate."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from lives import START_S, TINY, random_life, tell

from edgebehave import NOTHING, Predictor
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")

DAY = timedelta(days=1)


class StubAnswer:
    """In place of a session: gives the same outputs for every input."""

    def __init__(self, *outputs: np.ndarray) -> None:
        self._outputs = outputs

    def run(self, names, inputs):
        return self._outputs


def test_nothing_is_a_candidate_with_its_probability():
    bundle = Bundle.open(TINY / "int8")
    # Four waiting times, as likely as each other.
    waits = [np.array([60, 600, 3600, 86400], np.float32), np.full(4, 0.25, np.float32)]
    bundle = replace(bundle, wait=StubAnswer(*waits))
    predictor = Predictor(bundle)
    life = random_life(bundle, 30)
    tell(predictor, "ada", life)
    last_s = life[-1].at

    def p_nothing(waited_s, **within):
        names, probs = predictor.probabilities("ada", at=last_s + waited_s, within=timedelta(**within))
        assert names[-1] == NOTHING
        assert probs.dtype == np.float32
        assert probs.sum() == pytest.approx(1, abs=1e-4)
        return probs[-1]

    assert p_nothing(0, seconds=30) == 1
    assert p_nothing(0, minutes=10) == 0.5
    assert p_nothing(60, minutes=59) == pytest.approx(1 / 3)
    assert p_nothing(10**6, days=1) == 1
    assert p_nothing(-500, minutes=1) == 0.75  # asked about before it happened: no wait yet
    # All others are asked for when half of what comes in time has come.
    names, probs = predictor.probabilities("ada", at=last_s, within=timedelta(hours=2))
    _, then = predictor.probabilities("ada", at=last_s + 600)
    np.testing.assert_allclose(probs[:-1], then * 0.75, rtol=1e-5)
    assert NOTHING in [p.behavior for p in predictor.predict("ada", len(names), within=DAY)]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"within": 60}, TypeError, "timedelta"),
        ({"within": timedelta(0)}, ValueError, "longer than zero"),
        ({"at": None}, ValueError, "at must not be None"),
        ({"user": "nobody"}, ValueError, "none yet"),
    ],
)
def test_a_wrong_question_is_explained(change, error, says):
    bundle = replace(Bundle.open(TINY / "int8"), wait=StubAnswer())
    predictor = Predictor(bundle)
    tell(predictor, "ada", random_life(bundle, 3))
    with pytest.raises(error, match=says):
        predictor.predict(**{"user": "ada", "within": DAY, **change})


@pytest.mark.parametrize("predictor", [Predictor(), Predictor.load(TINY / "int8")])
def test_within_needs_a_model_with_generation_heads(predictor):
    predictor.observe("ada", "camera.open", at=START_S)
    with pytest.raises(ValueError, match="generation_heads=true"):
        predictor.predict("ada", within=DAY)
