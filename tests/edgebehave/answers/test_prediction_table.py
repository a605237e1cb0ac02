"""The predictions of several users as a list, as columns and as a table of a notebook."""

import copy
import pickle  # noqa: TID251 (what multiprocessing does with a result)

import pytest

from edgebehave import Prediction, PredictionTable, Predictor

ADA = [Prediction("mail", 0.5), Prediction("<b>", 0.25)]


def test_a_row_per_prediction():
    table = PredictionTable(["ada", "nobody", "bo"], [ADA, [], [Prediction("maps", 1.0)]])
    assert table == [ADA, [], [Prediction("maps", 1.0)]]
    assert table.columns() == {
        "user": ["ada", "ada", "bo"],
        "rank": [1, 2, 1],
        "behavior": ["mail", "<b>", "maps"],
        "probability": [0.5, 0.25, 1.0],
    }
    assert repr(table) == "PredictionTable(3 users, 3 predictions)"
    shown = table._repr_html_()
    assert "<td>mail 0.50, &lt;b&gt; 0.25</td>" in shown
    assert "caption" not in shown


def test_many_users_are_shown_in_part():
    table = PredictionTable([f"u{i}" for i in range(1000)], [ADA] * 1000)
    assert table._repr_html_().count("<tr>") == 11
    assert "10 of 1,000 users" in table._repr_html_()


def test_it_is_copied_whole():
    table = PredictionTable(["ada"], [ADA])
    for again in (copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert (again, again.users) == ([ADA], ["ada"])


def test_a_frame_of_predict_many():
    pandas = pytest.importorskip("pandas", reason="the frame is one of pandas")
    predictor = Predictor(model="habits")
    for second in range(6):
        predictor.observe("ada", ("mail", "maps")[second % 2], at=1_772_000_000 + 60 * second)
    frame = predictor.predict_many(pandas.Series(["ada", "nobody"]), 2, at=1_772_000_400).to_pandas()
    assert list(frame.columns) == ["user", "rank", "behavior", "probability"]
    assert list(frame.user) == ["ada", "ada"]
    assert set(frame.behavior) == {"mail", "maps"}
    assert repr(predictor) == "Predictor(model='habits')"
