"""Shares of a log that a vocabulary knows, counted by hand."""

import pytest

from edgebehave.vocabulary import Vocabulary
from edgebehave_train import ingest
from edgebehave_train.logs.vocabulary_fit import vocabulary_fit


def test_shares_of_events_names_and_users(tmp_path):
    rows = [("a", "mail")] * 6 + [("a", "new")] * 2 + [("b", "other")] * 7 + [("c", "other")] * 4
    lines = [f"{user},{event},{1772000000 + 60 * i}" for i, (user, event) in enumerate(rows)]
    (tmp_path / "log.csv").write_text("\n".join(["user,event,time", *lines]) + "\n")
    store = ingest(tmp_path / "log.csv", tmp_path / "store", on_line=lambda line: None)
    fit = vocabulary_fit(store, Vocabulary.identity(["mail", "music"]))
    assert fit.event_share == pytest.approx(6 / 19)
    assert fit.name_share == pytest.approx(1 / 3)
    assert fit.foreign_users == pytest.approx(1 / 3)  # b; c has too few events to tell
    assert fit.unknown == ["other", "new"]
    assert vocabulary_fit(store, Vocabulary.identity(["mail", "new", "other"])).unknown == []
