"""Readable names: from the vocabulary, from a table, and what is refused."""

import warnings

import pytest

from edgebehave.vocabulary import UNKNOWN_NAME, Vocabulary
from edgebehave_train.llm.prompts.behavior_names import read_name_table, readable_names

VOCABULARY = Vocabulary.identity(["0101", "0203", "reading  news"])


def test_names_come_from_the_vocabulary_by_id():
    assert readable_names(VOCABULARY) == (UNKNOWN_NAME, "0101", "0203", "reading news")


def test_a_behavior_that_the_table_lacks_keeps_its_name():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = readable_names(VOCABULARY, {"0203": "  baking\nbread "})
    assert names == (UNKNOWN_NAME, "0101", "baking bread", "reading news")


def test_names_that_the_vocabulary_lacks_are_left_aside_with_a_warning():
    with pytest.warns(UserWarning, match="1 names of the table are no behaviors.*'9999'"):
        names = readable_names(VOCABULARY, {"0101": "sleeping", "9999": "flying"})
    assert names[1] == "sleeping"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"0101": "Reading News "}, r"'0101' and 'reading  news' are both called 'reading news'"),
        ({"0101": " "}, r"'0101' has an empty name"),
        ({"zzz": "flying"}, r"none of the 3 behaviors"),
        ({UNKNOWN_NAME: "flying"}, r"none of the 3 behaviors"),
    ],
)
def test_what_a_table_may_not_say(table, says):
    with pytest.raises(ValueError, match=says):
        readable_names(VOCABULARY, table)


def test_vocabulary_names_that_differ_in_case_only_are_refused():
    with pytest.raises(ValueError, match="'Bar' and 'bar'"):
        readable_names(Vocabulary.identity(["Bar", "bar"]))


@pytest.mark.parametrize(
    "text",
    [
        '{"0101": "sleeping", "0203": "baking, at home"}',
        'name,readable\n0101,sleeping\n\n0203,"baking, at home"\n',
        '0101, sleeping\r\n0203,"baking, at home"\r\n',
        '\ufeffName,Readable\n0101,sleeping\n0203,"baking, at home"',
    ],
)
def test_a_table_is_json_or_csv(text, tmp_path):
    path = tmp_path / "names"
    path.write_text(text, encoding="utf-8")
    assert read_name_table(path) == {"0101": "sleeping", "0203": "baking, at home"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0101,sleeping\n0203,baking,home\n", "line 2: expected two columns"),
        ("0101,a\n0101,b\n", "names '0101' twice"),
        ('{"0101": "a", "0101": "b"}', "names '0101' twice"),
        ('{"0101": 3}', "must be text"),
        ('{"0101": ', "not valid JSON"),
        ("name,readable\n", "holds no names"),
        ("", "holds no names"),
    ],
)
def test_a_broken_table_is_refused(text, says, tmp_path):
    path = tmp_path / "names"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        read_name_table(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        read_name_table(tmp_path / "nowhere.csv")
