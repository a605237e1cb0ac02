"""Reading logs as text: what is malformed costs one row, and nothing is lost in silence."""

import gzip
import re

import duckdb
import pytest

from edgebehave_train.logs.reading import files as log_files
from edgebehave_train.logs.reading.files import IngestError, careful_scan, scan_file
from edgebehave_train.logs.reading.inspection import Reading, find_log_files

COLUMNS = {"raw_user": "u", "raw_time": "t", "raw_event": "e"}


def reading(folder, columns=COLUMNS, **options):
    copies = folder / "copies"
    copies.mkdir(exist_ok=True)
    return Reading(columns=list(columns.values()), folder=copies, **options)


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def scan(path, con, reader=scan_file):
    (file,) = find_log_files(path, reading(path.parent), con)
    copies = path.parent / "copies"
    copies.mkdir(exist_ok=True)
    result = reader(file, COLUMNS, copies)
    rows = con.execute(f"SELECT * FROM ({result.sql}) ORDER BY line").fetchall()
    if result.num_rows is not None:
        assert len(rows) == result.num_rows
    return rows, result


def write(tmp_path, data, name="log.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path, con):
    lines = [f"{i},{i},x" for i in range(3000)]
    lines[1000] = '1000,1000,"never closed'
    rows, result = scan(write(tmp_path, "u,t,e\n" + "\n".join(lines)), con)
    assert len(rows) == 2999
    assert result.refused == {"malformed row": 1}
    assert [example.line for example in result.examples] == [1002]


def test_line_breaks_in_quotes_are_not_rows_however_large_the_file(tmp_path, con):
    # DuckDB's parallel reader counts some of the lines inside the quotes as rows.
    record = '{0},{0},"bad\n{0},{0},fake\n7,8,fake"\n'
    text = "".join(record.format(i) if i % 3 else f"{i},{i},ok\n" for i in range(30_000))
    rows, result = scan(write(tmp_path, "u,t,e\n" + text), con)
    assert len(rows) == 30_000
    assert not result.refused
    assert {event for *_, event in rows if event.startswith("fake")} == set()


def test_malformed_rows_are_named_with_their_line(tmp_path, con):
    data = b'u,t,e\n1,1,"a\nb"\n\n2,2\n3,3,x,y\n4,4,\xff\n5,5,"a"b\n6,6,ok\n'
    path = write(tmp_path, data)
    rows, result = scan(path, con)
    assert rows == [(2, False, "1", "1", "a\nb"), (9, False, "6", "6", "ok")]
    assert result.refused == {"malformed row": 3, "not UTF-8": 1}
    where = [(example.reason, example.line) for example in result.examples]
    assert where == [
        ("malformed row", 5),
        ("malformed row", 6),
        ("not UTF-8", 7),
        ("malformed row", 8),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"u,t,e\n1,1,a\n2,2,b",
        b"u,t,e\r\n1,1,a\r\n2,2,b\r\n",
        b"\xef\xbb\xbfu,t,e\n1,1,a\n2,2,b\n",
        b"u;t;e\n1;1;a\n2;2;b\n",
        b"u\tt\te\n1\t1\ta\n2\t2\tb\n",
        b"u,t,e\n1,1,a\r\n2,2,b\n",
        b"u,t,e\r1,1,a\r2,2,b\r",
        b"\n\nu,t,e\n1,1,a\n\n2,2,b\n \n",
        b'"u","t","e"\n"1","1","a"\n2,2,"b"\n',
    ],
)
def test_dialects(tmp_path, con, data):
    for number, content in enumerate((data, gzip.compress(data))):
        rows, result = scan(write(tmp_path, content, f"{number}.csv"), con)
        assert [row[2:] for row in rows] == [("1", "1", "a"), ("2", "2", "b")]
        assert not result.refused


def test_both_ways_in_read_the_same(tmp_path, con):
    cells = ["plain", " padded ", "it's", "é", "\\n", "#", "NULL", "a\tb", "", "=1+1"]
    text = "u,t,e\n" + "".join(f"{cell},{i},{cell}{i}\n" for i, cell in enumerate(cells))
    path = write(tmp_path, text)
    plain, _ = scan(path, con)
    careful, _ = scan(path, con, careful_scan)
    assert [[cell or None for cell in row[2:]] for row in plain] == [
        [cell or None for cell in row[2:]] for row in careful
    ]
    assert [row[0] for row in plain] == [row[0] for row in careful]


@pytest.mark.parametrize(
    "above", ['"u","t","e"', '"u",t,"e"\r', '"sep=,"\n"u","t","e"', '# said "so\n"u","t","e"', '"u","e,t","t","e"']
)
def test_a_quoted_header_goes_the_fast_way(tmp_path, con, monkeypatch, above):
    monkeypatch.setattr(log_files, "careful_scan", None)
    end = "\r\n" if above.endswith("\r") else "\n"
    is_wide, num_above = "e,t" in above, above.count("\n") + 1
    lines = [above.rstrip("\r"), *(f"{i},{'x,' if is_wide else ''}{i + 5},e{i % 3}" for i in range(3000))]
    rows, _ = scan(write(tmp_path, end.join(lines) + end), con)
    assert rows == [(i + 1 + num_above, False, str(i), str(i + 5), f"e{i % 3}") for i in range(3000)]


def test_a_header_over_two_lines_and_a_blank_line_below_go_the_careful_way(tmp_path, con):
    assert scan(write(tmp_path, '"u","t","e"\n\n1,2,x\n'), con)[0] == [(3, False, "1", "2", "x")]
    assert scan(write(tmp_path, '"u","t","e"\n1,2,"x"\n'), con)[0] == [(2, False, "1", "2", "x")]
    assert scan(write(tmp_path, '"u","t","e"'), con)[0] == []


def test_json_lines_keep_their_line_and_broken_ones_are_malformed(tmp_path, con):
    text = (
        '{"u": "a/b", "t": 1333820544123456789, "e": "two\\nlines"}\n\n{"u": null, "e": {"x": [1]}}\n{"u": \n[1, 2]\n'
    )
    rows, result = scan(write(tmp_path, text, "log.jsonl"), con)
    assert rows == [
        (1, False, "a/b", "1333820544123456789", "two\nlines"),
        (3, False, None, None, '{"x":[1]}'),
        (4, True, None, None, None),
        (5, True, None, None, None),
    ]
    assert not result.refused


def test_json_columns_with_difficult_names(tmp_path, con):
    path = write(tmp_path, '{"a/b": 1, "c~d": 2, "it\'s \\"x\\"": 3}\n', "log.jsonl")
    columns = {"raw_user": "a/b", "raw_time": "c~d", "raw_event": 'it\'s "x"'}
    (file,) = find_log_files(path, Reading(columns=list(columns.values())), con)
    sql = scan_file(file, columns, tmp_path).sql
    assert con.execute(sql).fetchall() == [(1, False, "1", "2", "3")]


def test_parquet_cells_become_text_and_zones_survive(tmp_path, con):
    path = tmp_path / "log.parquet"
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    con.execute(f"COPY (SELECT 7 AS u, TIMESTAMPTZ '2014-05-13 16:53:20+00' AS t, 1.5 AS e) TO '{path}'")
    assert scan(path, con)[0] == [(1, False, "7", "2014-05-13 16:53:20Z", "1.5")]


def test_paths_are_taken_literally_before_they_are_globs(tmp_path, con):
    odd = write(tmp_path, "u,t,e\n1,1,it's\n", "o'dd [1]*.csv")
    write(tmp_path, "u,t,e\n2,2,b\n", "o'dd 1x.csv")
    assert len(scan(odd, con)[0]) == 1
    files = find_log_files(f"{tmp_path}/*.csv", Reading(columns=["u"]), con)
    assert [file.path.name for file in files] == ["o'dd 1x.csv", "o'dd [1]*.csv"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b"\n \n", "is empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("junk.csv", b"\x7fELF\0\0\1\2", "is binary"),
        ("junk.csv.gz", b"\x1f\x8b\x08\0junk", "is damaged or cut short"),
        ("latin.csv", "u,t,é\n".encode("latin-1"), "is not UTF-8"),
        ("bare.csv", b"1,1333820544,home\n", "seems to be an event and no header (1, 13338"),
        ("dated.txt", b"2026-03-02 08:00:00 -0800,mail\n", "seems to be an event and no header (2026-03-02 08"),
        ("chat.txt", b"[02/03/2026, 08:00:00] Ann: hello\n", "seems to be an event and no header ([02/03/2026"),
        ("calendar.ics", b"BEGIN:VCALENDAR\nVERSION:2.0\n", "its first line is one cell, 'BEGIN:VCALENDAR'"),
        ("page.html", b"<!DOCTYPE html>\n<html/>\n", "its first line is one cell, '<!DOCTYPE html>'"),
        ("near.csv", b"u,tt,e\n", "has no column 't'; did you mean 'tt'?"),
        ("twice.csv", b"u,t,e,u\n", "has 2 columns named 'u'"),
        ("array.json", b"[1, 2]", "holds no JSON object"),
        ("cut.json", b'[{"u": 1}, {"u":', "is no readable JSON"),
        ("log.db", b"SQLite format 3\0\1\2", "is an SQLite database"),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook"),
        ("cut.csv.bz2", b"BZh91AY&SY\1\2\3", "is damaged or cut short"),
        ("cut.csv.xz", b"\xfd7zXZ\0\0\4junk", "is damaged or cut short"),
        ("cut.csv.zst", b"\x28\xb5\x2f\xfdjunk", "is damaged or cut short"),
        ("cut.zip", b"PK\3\4junk", "is damaged or cut short"),
        ("names.jsonl", b'{"u": 1, "t": 2, "ev": 3}', "has no column 'e'; did you mean 'ev'?"),
        ("none.jsonl", b"hello\n", "holds no JSON object"),
        ("fake.parquet", b"PAR1 but not really", "is not a readable Parquet file"),
        ("csv.parquet", b"u,t,e\n1,2,3\n", "is not a readable Parquet file"),
    ],
)
def test_what_is_not_a_log_is_told_in_one_line(tmp_path, con, name, data, message):
    path = write(tmp_path, data, name)
    with pytest.raises(IngestError, match=re.escape(message)) as caught:
        find_log_files(path, reading(path.parent), con)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_missing_files_and_folders_are_told(tmp_path, con):
    for log, message in (
        (tmp_path / "none.csv", "no such file"),
        (f"{tmp_path}/*.csv", "no such file"),
        (tmp_path, "is a folder"),
        ([], "empty list"),
    ):
        with pytest.raises(IngestError, match=message):
            find_log_files(log, Reading(columns=["u"]), con)


def test_a_gzip_file_cut_short_is_damaged_not_shorter(tmp_path, con):
    text = "u,t,e\n" + "".join(f"{i},{i * 7919 % 997},x{i}\n" for i in range(100_000))
    whole = gzip.compress(text.encode())
    path = write(tmp_path, whole[: len(whole) // 2], "log.csv.gz")
    with pytest.raises(IngestError, match="is damaged or cut short"):
        scan(path, con)


def test_any_character_survives_the_careful_way(tmp_path, con):
    events = ["\r", "\r\n", "\n\r", "\u2028", "\x85", "\x1f\x01", "\\", '"', "\\n", "🚲", "\ufeff"]
    records = "".join('"u","1","{}"\n'.format(event.replace('"', '""')) for event in events)
    rows, result = scan(write(tmp_path, "u,t,e\n" + records), con)
    assert [row[4] for row in rows] == events
    assert not result.refused


def test_a_record_without_end_is_given_up(tmp_path, con, monkeypatch):
    monkeypatch.setattr(log_files, "_MAX_RECORD_CHARS", 1000)
    rows, result = scan(write(tmp_path, f'u,t,e\n1,1,"{"x" * 2000}"\n2,2,"b"\n'), con)
    assert len(rows) == 1
    assert result.refused == {"malformed row": 1}
