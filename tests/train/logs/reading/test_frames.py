"""Tables in memory give the store of the same rows in a file."""

from datetime import UTC, datetime

import pytest
from logs_of_rows import NOON, names_of, run, times_of, write_log

from edgebehave_train.logs.reading.files import IngestError

ROWS = [("7", NOON, "mail", "home"), ("7", NOON + 60, "maps", None), ("8", NOON + 90, "mail", "work")]
COLUMNS = ("user", "time", "event", "place")


def columns(change=None):
    table = {name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)}
    return table | (change or {})


def pandas_table(table):
    return pytest.importorskip("pandas").DataFrame(table)


def polars_table(table):
    pytest.importorskip("pyarrow")
    return pytest.importorskip("polars").DataFrame(table)


def lazy_table(table):
    return polars_table(table).lazy()


def arrow_table(table):
    return pytest.importorskip("pyarrow").table(table)


LIBRARIES = [pandas_table, polars_table, lazy_table, arrow_table]


@pytest.fixture
def reference(tmp_path):
    rows = [tuple("" if cell is None else cell for cell in row) for row in ROWS]
    return run(write_log(tmp_path, rows=rows, header=",".join(COLUMNS)), tmp_path / "reference", location="place")[0]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_a_table_is_its_file(tmp_path, reference, library):
    store, _, lines = run(library(columns()), tmp_path / "out", location="place")
    assert store.fingerprint == reference.fingerprint
    assert any(line.startswith("read 3 rows from the p") for line in lines)
    numbers = library(columns({"user": [7, 7, 8], "time": [float(row[1]) for row in ROWS]}))
    assert run(numbers, tmp_path / "numbers", location="place")[0].fingerprint == reference.fingerprint
    parts = [
        library({name: column[:1] for name, column in columns().items()}),
        library({name: column[1:] for name, column in columns().items()}),
    ]
    assert run(parts, tmp_path / "parts", location="place")[0].fingerprint == reference.fingerprint


def test_times_with_a_zone_keep_their_offset(tmp_path):
    moments = [datetime.fromtimestamp(NOON + 86_400 * 200 * i, UTC) for i in range(3)]
    pandas, polars, pyarrow = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    pytest.importorskip("pyarrow.parquet")
    expected = [(NOON, 120), (NOON + 86_400 * 200, 60), (NOON + 86_400 * 400, 120)]
    one_user = columns({"user": ["u"] * 3, "time": moments})
    tables = [
        pandas.DataFrame(one_user).assign(time=pandas.to_datetime(moments).tz_convert("Europe/Berlin")),
        polars.DataFrame(one_user).with_columns(polars.col("time").dt.convert_time_zone("Europe/Berlin")),
        pyarrow.table(one_user | {"time": pyarrow.array(moments, pyarrow.timestamp("ns", "Europe/Berlin"))}),
        pandas.DataFrame(one_user).assign(time=pandas.to_datetime(moments).tz_convert("Europe/Berlin").to_list()),
    ]
    mixed = pandas.Series([m.tz_convert("Europe/Berlin") for m in pandas.to_datetime(moments)], dtype=object)
    tables.append(pandas.DataFrame(one_user).assign(time=mixed))
    pyarrow.parquet.write_table(tables[2], tmp_path / "nanoseconds.parquet")
    tables.append(tmp_path / "nanoseconds.parquet")
    for i, table in enumerate(tables):
        assert times_of(run(table, tmp_path / str(i))[0]) == expected


def test_nan_none_and_nat_are_no_place(tmp_path):
    pandas = pytest.importorskip("pandas")
    missing = [float("nan"), None, pandas.NaT, pandas.NA]
    table = {"user": ["u"] * 5, "time": [NOON + i for i in range(5)], "event": list("abcde")}
    places = pandas.Series([*missing, 3.0], dtype=object)
    store, _, lines = run(pandas.DataFrame(table).assign(place=places), tmp_path / "out", location="place")
    assert names_of(store) == [("a", None), ("b", None), ("c", None), ("d", None), ("e", "3")]
    assert not any("warning" in line for line in lines)
    floats = pandas.DataFrame(table).assign(place=[float("nan")] * 4 + [3.0])
    assert run(floats, tmp_path / "floats", location="place")[0].fingerprint == store.fingerprint
    kinds = pandas.DataFrame(table).assign(
        event=pandas.Categorical(table["event"]), place=pandas.array([None] * 4 + [3], "Int64")
    )
    assert run(kinds, tmp_path / "kinds", location="place")[0].fingerprint == store.fingerprint


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_a_missing_column_is_told(tmp_path, library):
    with pytest.raises(IngestError, match=r"the p\w+ \w+ has no column 'uid'"):
        run(library(columns()), tmp_path / "out", user="uid")
    with pytest.raises(IngestError, match=r"has none of the columns 'a', 'b', 'c' \(it has: user, time"):
        run(library(columns()), tmp_path / "out", user="a", time="b", event="c")


def test_an_index_is_no_column(tmp_path):
    table = pandas_table(columns()).set_index("time")
    with pytest.raises(IngestError, match=r"the pandas DataFrame has 'time' in its index; pass frame.reset_index\(\)"):
        run(table, tmp_path / "out")


def test_further_kinds_of_columns(tmp_path, reference):
    pandas, polars, pyarrow = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
    nested = columns({"event": [{"app": row[2]} for row in ROWS]})
    for i, table in enumerate((polars.DataFrame(nested), pyarrow.table(nested))):
        store = run(table, tmp_path / f"nested{i}", event="event.app", location="place")[0]
        assert store.fingerprint == reference.fingerprint
    reader = pyarrow.table(columns()).to_reader()
    assert run(reader, tmp_path / "reader", location="place")[0].fingerprint == reference.fingerprint
    switches = [True, False, True]
    tables = [library(columns({"event": switches})) for library in LIBRARIES]
    tables.append(pandas.DataFrame(columns({"event": pandas.Series(switches, dtype="boolean")})))
    tables.append(pandas.DataFrame(columns({"event": pandas.Series(switches, dtype=object)})))
    stores = [run(table, tmp_path / f"switches{i}")[0] for i, table in enumerate(tables)]
    assert {store.vocabulary.events[1:] for store in stores} == {("true", "false")}


def test_floats_of_32_bits_hold_no_seconds(tmp_path):
    numpy, pandas = map(pytest.importorskip, ("numpy", "pandas"))
    frame = pandas.DataFrame(columns({"time": numpy.array([row[1] for row in ROWS], numpy.float32)}))
    _, _, lines = run(frame, tmp_path / "out")
    assert any("warning: times have lost digits: column 'time' holds floats of 32 bits" in line for line in lines)
