"""Tables of readable names that are keyed by hash."""

import csv
import gzip
import json
import os
from importlib import import_module
from pathlib import Path

import pytest

from edgebehave.vocabulary import UNKNOWN_NAME, Vocabulary

KAIST = Path(__file__).parents[2] / "research/kaist_names.json"


def of_names(*names):
    return Vocabulary(
        events=(UNKNOWN_NAME, *names),
        locations=(UNKNOWN_NAME,),
        behaviors=(UNKNOWN_NAME, *names),
        event_to_behavior=range(1 + len(names)),
    )


def test_the_names_of_kaist_are_distinct_and_none_begins_another():
    table = json.loads(KAIST.read_text())
    assert all(len(key) == 12 and not set(key) - set("0123456789abcdef") for key in table)
    words = [tuple(name.casefold().split()) for name in table.values()]
    assert len(set(words)) == len(words) == 147
    beginnings = {name[:n] for name in words for n in range(1, len(name))}
    assert not beginnings & set(words)
    assert all(name.isascii() for name in table.values())


def test_the_names_of_kaist_are_those_of_its_log():
    data = os.environ.get("EDGEBEHAVE_DATA")
    log = data and Path(data) / "kaist_context/activities.csv.gz"
    if not log or not log.exists():
        pytest.skip("EDGEBEHAVE_DATA names no folder with the KAIST log")
    name_hash = import_module("name_tables").name_hash
    with gzip.open(log, "rt", encoding="utf-8", newline="") as lines:
        activities = {row["activity"] for row in csv.DictReader(lines)}
    assert set(map(name_hash, activities)) == set(json.loads(KAIST.read_text()))


def test_a_table_of_hashes_becomes_one_of_the_behaviors(tmp_path):
    tables = import_module("name_tables")
    names, vocabulary = tmp_path / "hashes.json", of_names("réveil", "repas")
    # `printf %s réveil | sha256sum`
    names.write_text(json.dumps({"7eab0a06b059": "waking up", "0" * 12: "of another log"}))
    written = tables.table_of_behaviors(names, vocabulary, tmp_path)
    assert json.loads(written.read_text(encoding="utf-8")) == {"réveil": "waking up"}
    with pytest.raises(ValueError, match="none of the 1 behaviors"):
        tables.table_of_behaviors(names, of_names("repas"), tmp_path)


def test_a_table_of_behaviors_is_taken_as_it_is(tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("repas,eating\n")
    assert import_module("name_tables").table_of_behaviors(names, of_names("repas"), tmp_path) == names
