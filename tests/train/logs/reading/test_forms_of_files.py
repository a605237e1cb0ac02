"""One log in every form that people have it: the same store from each."""

import bz2
import gzip
import json
import lzma
import os
import threading
import zipfile

import duckdb
import pytest
from logs_of_rows import NOON, names_of, run, write_log

from edgebehave_train.logs.reading.files import IngestError

ROWS = [("u", NOON + 60 * i, event) for i, event in enumerate(("café", "thé", "café", "mail"))]
TEXT = "user,time,event\n" + "".join(f"{u},{t},{e}\n" for u, t, e in ROWS)
RECORDS = [dict(zip(("user", "time", "event"), row, strict=True)) for row in ROWS]


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text(TEXT, encoding="utf-8")
    return run(path, tmp_path / "reference")[0].fingerprint


def with_delimiter(delimiter):
    return TEXT.replace(",", delimiter)


def zipped(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/log.csv", TEXT)
        archive.writestr("__MACOSX/._log.csv", "junk")
    return path.read_bytes()


FORMS = {
    "plain.csv": TEXT,
    "bz2.csv.bz2": bz2.compress(TEXT.encode()),
    "xz.csv.xz": lzma.compress(TEXT.encode()),
    "zip.zip": zipped,
    "zip_named.csv": zipped,
    "json.json.gz": gzip.compress(json.dumps(RECORDS).encode()),
    "utf16.csv": TEXT.encode("utf-16"),
    "utf16le.csv": TEXT.encode("utf-16-le"),
    "utf16be.csv": TEXT.encode("utf-16-be"),
    "space.txt": with_delimiter(" "),
    "pipe.csv": with_delimiter("|"),
    "semicolon.csv": with_delimiter(";"),
    "semicolon_note.csv": "\n".join(
        line + (";x" if i else ";note (a, b, c, d, e)") for i, line in enumerate(with_delimiter(";").split("\n")[:-1])
    ),
    "sep.csv": "sep=;\n" + with_delimiter(";"),
    "sep_quoted.csv": '"sep=\t"\n' + with_delimiter("\t"),
    "comments.csv": "# made by hand\n# phone, 2014\n\n" + TEXT,
    "quoted_comments.csv": "# made, by\n" + TEXT.replace("mail", '"mail"'),
    "array.json": json.dumps(RECORDS),
    "array_lines.jsonl": json.dumps(RECORDS, indent=1),
    "pretty.json": "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "no_suffix": json.dumps(RECORDS),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_store(tmp_path, reference, name):
    path, content = tmp_path / name, FORMS[name]
    content = content(path) if callable(content) else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(path, tmp_path / "out")[0].fingerprint == reference


def test_zstd_is_read_and_one_that_ends_early_is_damaged(tmp_path):
    path = tmp_path / "log.csv.zst"
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT 'u' || i AS "user", {NOON} + i AS "time", 'e' || i * 7919 % 997 AS event
            FROM range(100000) r(i)) TO '{path}' (FORMAT csv, COMPRESSION zstd)"""
        )
    assert run(path, tmp_path / "out")[0].num_events == 100_000
    whole = path.read_bytes()
    for end in (len(whole) // 2, len(whole) - 1, 5):
        path.write_bytes(whole[:end])
        with pytest.raises(IngestError, match="is damaged or cut short"):
            run(path, tmp_path / "cut")


def test_a_pipe_and_standard_input_are_read(tmp_path, reference, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(TEXT, encoding="utf-8"))
    writer.start()
    assert run(pipe, tmp_path / "out")[0].fingerprint == reference
    writer.join()
    with (tmp_path / "reference.csv").open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run("-", tmp_path / "stdin")[0].fingerprint == reference


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_another_encoding_is_asked_for(tmp_path, reference, encoding):
    path = tmp_path / "log.csv"
    path.write_text(TEXT, encoding=encoding)
    with pytest.raises(IngestError, match=r"not UTF-8 3 .*--encoding"):
        run(path, tmp_path / "out")
    assert run(path, tmp_path / "out", encoding=encoding)[0].fingerprint == reference
    with pytest.raises(IngestError, match="--encoding 'klingon' is unknown"):
        run(path, tmp_path / "none", encoding="klingon")


def test_a_delimiter_can_be_asked_for(tmp_path, reference):
    path = tmp_path / "log.csv"
    path.write_text(with_delimiter("~"), encoding="utf-8")
    with pytest.raises(IngestError, match="has no column 'user'"):
        run(path, tmp_path / "out")
    assert run(path, tmp_path / "out", delimiter="~")[0].fingerprint == reference
    path.write_text(with_delimiter("\t"), encoding="utf-8")
    assert run(path, tmp_path / "tab", delimiter="tab")[0].fingerprint == reference
    with pytest.raises(IngestError, match="--delimiter must be one character"):
        run(path, tmp_path / "none", delimiter="ab")


def test_lines_are_counted_from_the_top_of_the_file(tmp_path):
    for name, header in (("plain.csv", "# one\n# two\n"), ("quoted.csv", "sep=,\n")):
        path = tmp_path / name
        last = 'u,soon,"e"\n' if name == "quoted.csv" else "u,soon,e\n"
        path.write_text(header + TEXT + last, encoding="utf-8")
        line = header.count("\n") + TEXT.count("\n") + 1
        with pytest.raises(IngestError, match=rf"unreadable time 1 \(first: .*{name}:{line} 'soon'"):
            run(path, tmp_path / "out", max_bad=0.1)


def test_nested_columns(tmp_path):
    records = [{"user": "u", "time": NOON + i, "data": {"app": app, "a.b": 1}} for i, app in enumerate("xy")]
    records.append({"user": "u", "time": NOON + 9, "data.app": "z"})
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    store, _, _ = run(path, tmp_path / "out", event="data.app")
    assert [event for event, _ in names_of(store)] == ["x", "y", "z"]
    with pytest.raises(IngestError, match=r"no column 'data.ap'; did you mean 'data.app'"):
        run(path, tmp_path / "none", event="data.ap")
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT 'u' AS "user", {NOON} AS "time", {{'app': 'x'}} AS data) TO '{tmp_path}/log.parquet'"""
        )
    store, _, _ = run(tmp_path / "log.parquet", tmp_path / "parquet", event="data.app")
    assert names_of(store) == [("x", None)]


def test_a_parquet_column_may_look_like_a_row_number(tmp_path):
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT 'u' AS "user", {NOON} + i AS "time", 'e' AS event, 7 AS file_row_number
            FROM range(3) r(i)) TO '{tmp_path}/log.parquet'"""
        )
    assert run(tmp_path / "log.parquet", tmp_path / "out")[0].num_events == 3


def test_an_archive_of_several_files_names_them(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(IngestError, match=r"holds 2 files \(a.csv, b.csv\); unpack it"):
        run(tmp_path / "log.zip", tmp_path / "out")


def test_a_workbook_is_read_by_the_extra_or_told(tmp_path, reference):
    path = tmp_path / "log.xlsx"
    try:
        import openpyxl
    except ModuleNotFoundError:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("xl/workbook.xml", "")
        with pytest.raises(IngestError, match=r"is an Excel workbook; .* pip install 'edgebehave\[xlsx\]'"):
            run(path, tmp_path / "out")
        return
    book = openpyxl.Workbook()
    for row in (("user", "time", "event"), *ROWS):
        book.active.append(row)
    book.save(path)
    assert run(path, tmp_path / "out")[0].fingerprint == reference


def test_whatever_is_read_nothing_stays_behind(tmp_path):
    path = write_log(tmp_path, [NOON])
    run(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "out"]
