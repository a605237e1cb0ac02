"""Tables of pandas, polars and Arrow in `observe_many`: the same history as from lists, from every library."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from edgebehave import Predictor

START = datetime(2026, 3, 2, 8, tzinfo=timezone(timedelta(hours=1)))
ROWS = {
    "user": ["ada", "bob", "ada", "ada"],
    "event": ["mail", "maps", "mail", "chat"],
    "time": [START + timedelta(minutes=i) for i in range(4)],
    "location": ["home", None, None, "work"],
}


def pandas_table(rows):
    return pytest.importorskip("pandas").DataFrame(rows)


def polars_table(rows):
    polars = pytest.importorskip("polars")
    in_utc = {
        name: [cell.astimezone(UTC) if isinstance(cell, datetime) else cell for cell in column]
        for name, column in rows.items()
    }
    table = polars.DataFrame(in_utc)
    return table.with_columns(polars.col(polars.Datetime("us", "UTC")).dt.convert_time_zone("Etc/GMT-1"))


def arrow_table(rows):
    return pytest.importorskip("pyarrow").table(rows)


LIBRARIES = {"pandas": pandas_table, "polars": polars_table, "arrow": arrow_table}


def expected(rows=ROWS):
    predictor = Predictor(max_ahead=None)
    for user, event, at, location in zip(rows["user"], rows["event"], rows["time"], rows["location"], strict=True):
        predictor.observe(user, event, at=at, location=location)
    return [predictor.export_user(user) for user in ("ada", "bob")]


@pytest.mark.parametrize("library", LIBRARIES)
def test_tables_and_columns_of_any_library_are_events(library):
    table = LIBRARIES[library](ROWS)
    whole, columns, renamed = (Predictor(max_ahead=None) for _ in range(3))
    whole.observe_many(table)
    columns.observe_many(table["user"], table["event"], at=table["time"], location=table["location"])
    other = LIBRARIES[library](
        {{"user": "uid", "time": "ts"}.get(name, name): column for name, column in ROWS.items()}
        | {"time": ROWS["time"]}
    )
    renamed.observe_many(other, columns={"user": "uid", "time": "ts"})
    for predictor in (whole, columns, renamed):
        assert [predictor.export_user(user) for user in ("ada", "bob")] == expected()
    assert b'"utc_offset_min": 60' in expected()[0] or b'"utc_offset_min":60' in expected()[0]


def test_nan_nat_and_na_are_no_place_and_an_offset_may_be_missing():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "user": [7, 7, 7, 7],
            "event": ["a", "b", "c", "d"],
            "time": [1_772_438_400 + i for i in range(4)],
            "location": pandas.Series([float("nan"), None, pandas.NaT, pandas.NA], dtype=object),
            "utc_offset_min": [60.0, float("nan"), 120.0, float("nan")],
        }
    )
    predictor, one_by_one = Predictor(max_ahead=None), Predictor(max_ahead=None)
    predictor.observe_many(table)
    for i, offset in enumerate((60, None, 120, None)):
        one_by_one.observe("7", "abcd"[i], at=1_772_438_400 + i, utc_offset_min=offset)
    assert predictor.export_user("7") == one_by_one.export_user("7")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_column_and_a_missing_time_are_told(library):
    predictor = Predictor()
    table = LIBRARIES[library]({**ROWS, "app": ROWS["event"]})
    with pytest.raises(ValueError, match=r"no column 'uid' for user; pass columns=\{'user': NAME\} \(it has: user, "):
        predictor.observe_many(table, columns={"user": "uid"})
    with pytest.raises(ValueError, match="columns names 'name'; expected user, event, time"):
        predictor.observe_many(table, columns={"name": "uid"})
    with pytest.raises(TypeError, match="a table holds the events too"):
        predictor.observe_many(table, ["x"])
    with pytest.raises(TypeError, match="columns belongs to a table, got list"):
        predictor.observe_many(["u"], ["x"], columns={})
    with pytest.raises(TypeError, match="an event needs a time"):
        predictor.observe_many(LIBRARIES[library]({**ROWS, "time": [*ROWS["time"][:3], None]}))
    assert predictor.users == []


def test_a_column_of_times_without_a_zone_is_told():
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ValueError, match="at has no time zone"):
        Predictor().observe_many(["u"], ["x"], at=numpy.array(["2026-03-02T08:00"], "datetime64[ns]"))
