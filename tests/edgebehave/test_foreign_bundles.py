"""A bundle on a log of other names: the universal model answers for such users, and the app can know it."""

import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from combined_bundle import write_combined

from edgebehave import Predictor, SqliteHistory
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")

TINY = Path(__file__).parent / "tiny_bundle" / "int8"
START_S = 1_767_268_800


@pytest.fixture(scope="module", params=["named", "combined"])
def bundle(request, tmp_path_factory) -> Bundle:
    """Of a named model alone, and of one that answers together with a universal model of its own."""
    if request.param == "named":
        return Bundle.open(TINY)
    return Bundle.open(write_combined(tmp_path_factory.mktemp("combined") / "int8"))


def life(words: list[str], num_events: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    at = START_S + rng.integers(1, 20_000, num_events).cumsum()
    names = np.minimum(rng.zipf(1.5, num_events), len(words)) - 1
    places = rng.integers(0, 4, num_events)
    return [
        {"event": words[name], "at": int(t), "location": f"at {place}" if place else None, "utc_offset_min": 60}
        for name, t, place in zip(names, at, places, strict=True)
    ]


def tell(predictor: Predictor, events: list[dict], user: str = "ada") -> None:
    for event in events:
        predictor.observe(user, **event)


def answer(predictor: Predictor, **asked) -> tuple:
    names, probs = predictor.probabilities("ada", **{"at": START_S + 10**7, **asked})
    return names, probs.tobytes()


FOREIGN = [f"foreign {number}" for number in range(30)]


def known_words(bundle: Bundle) -> list[str]:
    vocabulary = bundle.vocabulary
    return [
        name for name, behavior in zip(vocabulary.events, vocabulary.event_to_behavior, strict=True) if behavior > 0
    ]


@pytest.mark.filterwarnings("ignore:the vocabulary of the bundle")
@pytest.mark.parametrize("num_events", [5, 6, 64, 65, 300, 513, 600])
def test_it_answers_what_the_universal_model_answers(bundle, num_events):
    foreign, universal = Predictor(bundle), Predictor()
    tell(foreign, life(FOREIGN, num_events))
    tell(universal, life(FOREIGN, num_events))
    for asked in ({}, {"at": None}):
        assert answer(foreign, **asked) == answer(universal, **asked)
    assert foreign.prediction_set("ada", 0.5, at=START_S + 10**7) == universal.prediction_set(
        "ada", 0.5, at=START_S + 10**7
    )
    assert foreign.model == TINY.name


def test_where_the_vocabulary_matches_nothing_changes(bundle, monkeypatch):
    predictor = Predictor(bundle)
    tell(predictor, life(known_words(bundle)[:20], 80) + life(FOREIGN, 40, seed=1))
    assert predictor.known_share("ada") == pytest.approx(2 / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = answer(predictor)
    monkeypatch.setattr("edgebehave.predictor.has_shipped_bundle", lambda: False)
    assert answer(predictor) == mixed
    assert set(bundle.vocabulary.behaviors[1:]) < set(mixed[0])


def test_an_app_may_want_the_bundle_all_the_same(bundle):
    predictor = Predictor(bundle, foreign="bundle")
    tell(predictor, life(FOREIGN, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names, _ = predictor.probabilities("ada", at=START_S + 10**7)
    assert set(bundle.vocabulary.behaviors[1:]) < set(names)
    with pytest.raises(ValueError, match="foreign must be 'universal' or 'bundle', got 'habits'"):
        Predictor(bundle, foreign="habits")


def test_the_share_of_known_behaviors(bundle):
    predictor = Predictor(bundle)
    assert predictor.known_share("ada") is None
    words = known_words(bundle)
    shares = []
    for name in [words[0], "foreign 1", words[1], "foreign 2", "foreign 1"]:
        predictor.observe("ada", name, at=START_S + 60 * len(shares))
        shares.append(predictor.known_share("ada"))
    assert shares == [1, 1 / 2, 2 / 3, 2 / 4, 2 / 5]
    predictor.forget_event("ada", event="foreign 1")
    assert predictor.known_share("ada") == 2 / 3
    without = Predictor()
    without.observe("ada", "coffee")
    assert without.known_share("ada") == 0


def test_it_warns_once(bundle):
    predictor = Predictor(bundle)
    for user in ("ada", "bob"):
        tell(predictor, life(FOREIGN, 4), user)
        predictor.predict(user, at=START_S + 10**7)  # four events say little
        tell(predictor, life(FOREIGN, 8)[4:], user)
    with pytest.warns(
        RuntimeWarning, match=r"'int8' holds 0 of 8 behaviors of user 'ada': the universal model answers"
    ):
        predictor.predict("ada", at=START_S + 10**7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict("bob", at=START_S + 10**7)


@pytest.mark.filterwarnings("ignore:the vocabulary of the bundle")
@pytest.mark.parametrize("max_age", [None, timedelta(days=30)])
def test_answers_follow_from_the_retained_events_alone(tmp_path, bundle, max_age):
    words = known_words(bundle)
    # At first the names are known, then foreign; some late events; some are forgotten.
    events = life(words[:9], 60) + [e | {"at": e["at"] + 2_000_000} for e in life(FOREIGN, 620, seed=3)]
    with SqliteHistory(tmp_path / "history.db", survives_power_loss=False, max_age=max_age) as history:
        lived = Predictor(bundle, history=history)
        for number, event in enumerate(events):
            tell(lived, [event])
            if number % 9 == 0:
                tell(lived, [event | {"at": event["at"] - 90_000, "event": "foreign late"}])
                lived.predict("ada", at=event["at"])
        lived.forget_event("ada", event="foreign 2")
        retained = [
            {"event": name, "location": place, "at": at, "utc_offset_min": offset}
            for name, place, at, offset in history.latest("ada", 512)[1].rows()
        ]
        after = answer(lived, at=events[-1]["at"] + 600), answer(lived, at=None)
        restarted = Predictor(bundle, history=history)
        assert (answer(restarted, at=events[-1]["at"] + 600), answer(restarted, at=None)) == after
    anew = Predictor(bundle)
    tell(anew, retained)
    assert (answer(anew, at=events[-1]["at"] + 600), answer(anew, at=None)) == after
