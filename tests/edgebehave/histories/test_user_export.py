"""The export of a user: JSON that a person can read, an import equal to the bit, and bad data refused."""

import json

import pytest
from lives import START_S, TINY, answer, random_life, tell

from edgebehave import Predictor, SqliteHistory
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("num_events", [1, 20, 100])
def test_an_import_is_equal_to_the_bit(tmp_path, num_events):
    bundle = Bundle.open(TINY / "int8")
    life = random_life(bundle, num_events + 5)
    life[0] = life[0]._replace(event="\ud800\0🦊", location="\udfff")
    first = Predictor(bundle)
    tell(first, "ada", life[:num_events])
    data = first.export_user("ada")
    with SqliteHistory(tmp_path / "h.db") as history:
        second = Predictor(bundle, history=history)
        second.import_user("bob", data)
        assert second.export_user("bob") == data
        for happened in life[num_events:]:
            assert answer(second, "bob") == answer(first)
            tell(first, "ada", [happened])
            tell(second, "bob", [happened])


def test_an_export_is_json_that_a_person_can_read():
    predictor = Predictor()
    predictor.observe("ada", "camera.open", at=START_S, location="home", utc_offset_min=60)
    predictor.observe("ada", "café", at=START_S + 5)
    text = predictor.export_user("ada").decode("ascii")
    assert json.loads(text) == {
        "format": "edgebehave user history",
        "version": 1,
        "num_events": 2,
        "events": [
            {
                "event": "camera.open",
                "location": "home",
                "time_s": START_S,
                "utc_offset_min": 60,
            },
            {"event": "café", "location": None, "time_s": START_S + 5, "utc_offset_min": 60},
        ],
    }
    assert "ada" not in text
    with pytest.raises(KeyError, match="there is no user 'bob'"):
        predictor.export_user("bob")


EVENT = {"event": "x", "location": None, "time_s": START_S, "utc_offset_min": 0}
GOOD = {"format": "edgebehave user history", "version": 1, "num_events": 5, "events": [EVENT]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ("{}", "not of the format 'edgebehave user history'"),
        ([], "not of the format"),
        ({**GOOD, "version": 2}, "of version 2, this edgebehave reads 1"),
        ({**GOOD, "version": True}, "of version True"),
        ({**GOOD, "num_events": 0}, "num_events must be an integer, at least the 1 events"),
        ({**GOOD, "num_events": 1.0}, "num_events must be"),
        ({**GOOD, "num_events": 10**30}, "num_events must be"),
        ({**GOOD, "events": []}, "at least one event"),
        ({**GOOD, "events": "x"}, "at least one event"),
        ({**GOOD, "events": [EVENT, 7]}, "event 1 of the data: expected an object of event"),
        ({**GOOD, "events": [{**EVENT, "more": 1}]}, "event 0 of the data: expected an object"),
        ({**GOOD, "events": [{**EVENT, "event": None}]}, "event must be a str"),
        ({**GOOD, "events": [{**EVENT, "location": ""}]}, "location must not be empty"),
        ({**GOOD, "events": [{**EVENT, "time_s": 5}]}, "whole seconds in 1990..2100, got 5"),
        ({**GOOD, "events": [{**EVENT, "time_s": float("nan")}]}, "whole seconds in 1990..2100"),
        ({**GOOD, "events": [{**EVENT, "utc_offset_min": 900}]}, "utc_offset_min must lie in"),
        (
            {**GOOD, "events": [EVENT, {**EVENT, "time_s": START_S - 1}]},
            "not in the order of time",
        ),
    ],
)
def test_bad_data_is_refused_and_changes_nothing(data, says):
    predictor = Predictor()
    text = data if isinstance(data, bytes | str) else json.dumps(data)
    with pytest.raises(ValueError, match=says):
        predictor.import_user("ada", text)
    assert predictor.users == []
    predictor.import_user("ada", json.dumps(GOOD))
    assert predictor.num_events("ada") == 5
    with pytest.raises(ValueError, match="user 'ada' has a history already: forget it first"):
        predictor.import_user("ada", json.dumps(GOOD))
    with pytest.raises(TypeError, match="data must be what export_user returned, got dict"):
        predictor.import_user("bob", GOOD)
