"""Vocabulary: ids and names belong together, on disk and across vocabularies."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN, UNKNOWN_NAME, Vocabulary

words = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda word: word != UNKNOWN_NAME)
names = st.lists(words, unique=True, max_size=12)


@st.composite
def vocabularies(draw):
    events, locations, behaviors = draw(names), draw(names), draw(names)
    behavior = st.integers(NO_BEHAVIOR, len(behaviors))
    mapping = draw(st.lists(behavior, min_size=len(events), max_size=len(events)))
    return Vocabulary(
        events=[UNKNOWN_NAME, *events],
        locations=[UNKNOWN_NAME, *locations],
        behaviors=[UNKNOWN_NAME, *behaviors],
        event_to_behavior=[UNKNOWN, *mapping],
    )


@given(vocabularies())
def test_every_name_has_its_id(vocabulary):
    ids = range(vocabulary.num_events)
    assert [vocabulary.event_id(name) for name in vocabulary.events] == list(ids)
    assert [vocabulary.location_id(name) for name in vocabulary.locations] == list(range(vocabulary.num_locations))
    assert [vocabulary.behavior_id(name) for name in vocabulary.behaviors] == list(range(vocabulary.num_behaviors))


@given(vocabularies())
def test_what_is_saved_is_loaded(tmp_path_factory, vocabulary):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert os.listdir(path.parent) == ["vocabulary.json"]


@given(vocabularies(), vocabularies())
def test_translation_keeps_names_or_forgets_them(here, there):
    for kind in ("events", "locations", "behaviors"):
        table = here.translate(there, kind)
        assert table.dtype == np.int32
        for name, i in zip(getattr(there, kind), table.tolist(), strict=True):
            known = getattr(here, kind)
            assert known[i] == name if name in known else i == UNKNOWN


@given(vocabularies())
def test_translation_to_itself_changes_nothing(vocabulary):
    for kind in ("events", "locations", "behaviors"):
        table = vocabulary.translate(vocabulary, kind)
        assert table.tolist() == list(range(len(getattr(vocabulary, kind))))


def test_unknown_names_and_no_location_are_id_zero():
    vocabulary = Vocabulary.identity(["run"], ["home"])
    assert vocabulary.event_id("fly") == UNKNOWN
    assert vocabulary.behavior_id("fly") == UNKNOWN
    assert vocabulary.location_id("moon") == UNKNOWN
    assert vocabulary.location_id(None) == UNKNOWN
    assert vocabulary.location_id("home") == 1


def test_identity_makes_each_event_a_behavior():
    vocabulary = Vocabulary.identity(["run", "eat"])
    assert vocabulary.behaviors == vocabulary.events == (UNKNOWN_NAME, "run", "eat")
    assert vocabulary.event_to_behavior == (0, 1, 2)
    assert vocabulary.locations == (UNKNOWN_NAME,)


def fields(**changed):
    whole = {
        "events": [UNKNOWN_NAME, "a", "b"],
        "locations": [UNKNOWN_NAME],
        "behaviors": [UNKNOWN_NAME, "x"],
        "event_to_behavior": [0, 1, -1],
    }
    return whole | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"events": ["a", "b", "c"]}, "events must start with '<unknown>'"),
        ({"locations": []}, "locations must start with '<unknown>'"),
        ({"events": [UNKNOWN_NAME, "a", "a"]}, "events holds 'a' twice"),
        ({"behaviors": [UNKNOWN_NAME, UNKNOWN_NAME]}, "behaviors holds '<unknown>' twice"),
        ({"event_to_behavior": [0, 1]}, "event_to_behavior has 2 entries for 3 events"),
        ({"event_to_behavior": [1, 1, 1]}, "names a behavior that does not exist"),
        ({"event_to_behavior": [0, 2, 1]}, "names a behavior that does not exist"),
        ({"event_to_behavior": [0, -2, 1]}, "names a behavior that does not exist"),
        ({"event_to_behavior": [0, 1.5, 1]}, "something that is no whole number"),
        ({"event_to_behavior": [0, float("inf"), 1]}, "something that is no whole number"),
        ({"locations": [UNKNOWN_NAME, False]}, "locations holds something that is no name"),
    ],
)
def test_lists_that_do_not_fit_are_refused(changed, message):
    assert Vocabulary(**fields(event_to_behavior=[0, 0, 1])).event_to_behavior == (0, 0, 1)
    with pytest.raises(ValueError, match=message):
        Vocabulary(**fields(**changed))


@pytest.mark.parametrize("text", ["", "[]", '{"events": []}', "{", '{"other": 1}'])
def test_a_file_that_is_no_vocabulary_is_named(tmp_path, text):
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"vocabulary\.json is not a vocabulary"):
        Vocabulary.load(path)


def test_a_file_is_written_for_people(tmp_path):
    """One name a line, in its own letters; sizes follow from it."""
    Vocabulary(**fields(events=[UNKNOWN_NAME, "é", "b"])).save(tmp_path / "v.json")
    text = (tmp_path / "v.json").read_text(encoding="utf-8")
    assert text.startswith('{\n"events": [\n"<unknown>",\n"é",\n"b"\n],')
    assert text.endswith("}\n")
    loaded = Vocabulary.load(tmp_path / "v.json")
    assert (loaded.num_events, loaded.num_locations, loaded.num_behaviors) == (3, 1, 2)


def test_a_file_of_nested_lists_is_no_vocabulary(tmp_path):
    (tmp_path / "vocabulary.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not a vocabulary"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_it_shows_counts_and_not_thousands_of_names():
    vocabulary = Vocabulary.identity([f"app {i}" for i in range(1000)], ["home"])
    assert repr(vocabulary) == "Vocabulary(1,000 events, 1 locations, 1,000 behaviors)"


def test_lists_become_tuples():
    vocabulary = Vocabulary(
        events=[UNKNOWN_NAME, "a"],
        locations=[UNKNOWN_NAME],
        behaviors=[UNKNOWN_NAME, "a"],
        event_to_behavior=[UNKNOWN, 1],
    )
    assert (vocabulary.events, vocabulary.locations) == ((UNKNOWN_NAME, "a"), (UNKNOWN_NAME,))
    assert (vocabulary.behaviors, vocabulary.event_to_behavior) == ((UNKNOWN_NAME, "a"), (UNKNOWN, 1))
