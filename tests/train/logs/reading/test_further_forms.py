"""Logs as other programs write them: titles above the header, blanks after commas, wrapped JSON, and odd dates."""

import json
import zipfile
from datetime import UTC, datetime

import pytest

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest

NOON = 1_772_452_800  # 2026-03-02 12:00 UTC
TIMES = [NOON + 3700 * i for i in range(30)]
NAMES = ["mail", "maps", "chat"] * 10
ROWS = [{"user": "u", "time": time, "event": name} for time, name in zip(TIMES, NAMES, strict=True)]


def table(times=TIMES, sep=",", users=("u",)):
    cells = zip((users[i % len(users)] for i in range(30)), times, NAMES, strict=True)
    return sep.join(("user", "time", "event")) + "\n" + "".join(sep.join(map(str, row)) + "\n" for row in cells)


def events_of(tmp_path, text, name="log.csv", **options):
    path, lines = tmp_path / name, []
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ingest(IngestConfig(log=path, out=tmp_path / "out", threads=1, **options), lines.append)
    store = EventStore.open(tmp_path / "out")
    events = [
        (e.event, e.time_s, e.utc_offset_min) for user in range(store.num_users) for e in store.named_events(user)
    ]
    return store.users(), events, lines


def plain(offset_min=0):
    return [(name, time, offset_min) for time, name in zip(TIMES, NAMES, strict=True)]


ABOVE = {
    "a title": "My export of 2026\n\n" + table(),
    "comments of C": "// made by X\n// version 2\n" + table(),
    "comments of an INI": "; made by X; version 2\n" + table(sep=";"),
    "comments of MATLAB": "% made by X\n%\n" + table(sep="\t"),
    "a quoted title": '"Export, of me"\n"2026-03-02"\n' + table(),
    "a blank after each comma": table(sep=", "),
    "blanks and quotes": table(sep=", ").replace("mail", '"mail"'),
    "a header of quotes and blanks": table(sep=", ").replace("user, time, event", '"user", "time", "event"'),
    "blanks around a bar": table(sep=" | "),
}


@pytest.mark.parametrize("name", ABOVE)
def test_what_stands_above_and_around_the_cells_means_nothing(tmp_path, name):
    assert events_of(tmp_path, ABOVE[name])[:2] == (["u"], plain())


def test_lines_are_counted_from_the_top_of_a_file_with_a_title(tmp_path):
    lines = ("A title\n\n" + table()).splitlines()
    lines[20] = "u,soon,mail"
    with pytest.raises(IngestError, match=r"log.csv:21 'soon'"):
        events_of(tmp_path, "\n".join(lines), max_bad=0.01)


JSON = {
    "wrapped": {"data": ROWS},
    "wrapped deep, with facts": {"version": 1, "export": {"user": "u", "events": ROWS}},
    "columns": {name: [row[name] for row in ROWS] for name in ("user", "time", "event")},
    "rows by number": {str(i): row for i, row in enumerate(ROWS)},
    "rows behind one of another kind": {"about": "x", "rows": [{"user": "u", "time": NOON, "action": "joined"}, *ROWS]},
    "rows in several parts": {"days": [{"date": "x", "rows": ROWS[:7]}, {"rows": []}, {"date": "y", "rows": ROWS[7:]}]},
    "header and rows": [["event", "user", "time"], *([row["event"], "u", row["time"]] for row in ROWS)],
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", JSON)
def test_json_that_wraps_its_rows(tmp_path, name, indent):
    text = json.dumps(JSON[name], indent=indent)
    read = {"name": "log.json", "overwrite": True, "max_bad": 0.1}
    assert events_of(tmp_path, text, **read)[:2] == (["u"], plain())
    assert events_of(tmp_path, b"\xef\xbb\xbf" + text.encode(), **read)[:2] == (["u"], plain())


def test_rows_of_a_part_that_lack_a_column_are_rejected_and_not_lost(tmp_path):
    lacking = [{"user": "u", "time": NOON + i, "app": "mail"} for i in range(3)]
    text = json.dumps({"days": [{"rows": ROWS}, {"rows": lacking}, {"date": "x"}]})
    with pytest.raises(IngestError, match=rf"3 of {len(ROWS) + 3} rows .* missing event 3"):
        events_of(tmp_path, text, name="log.json")


def test_json_with_a_byte_order_mark_and_one_with_rows_in_two_places(tmp_path):
    assert events_of(tmp_path, json.dumps(ROWS).encode("utf-8-sig"), "log.json")[:2] == (["u"], plain())
    with pytest.raises(IngestError, match="no column 'user'"):
        events_of(tmp_path, json.dumps({"a": ROWS, "b": ROWS}), "log.json", overwrite=True)


MONTHS = {
    "German": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "German, short": "Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez",
    "French": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "French, short": "janv févr mars avr mai juin juil août sept oct nov déc",
    "Spanish": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "Italian, short": "gen feb mar apr mag giu lug ago set ott nov dic",
    "Dutch, short": "jan feb mrt apr mei jun jul aug sep okt nov dec",
}
LANGUAGES = {
    "German": "Donnerstag, {day}. {month} {year} um {clock} Uhr",
    "German, short": "{day:02}. {month}. {year} {clock}",
    "French": "lundi {day} {month} {year} à {clock}",
    "French, short": "mar. {day} {month}. {year} {clock}",
    "Spanish": "{day} de {month} de {year}, {clock}",
    "Italian, short": "{day} {month} {year} {clock}",
    "Dutch, short": "{day} {month}. {year} {clock}",
}


def test_rows_without_an_event_may_be_left_out(tmp_path):
    with pytest.raises(
        IngestError, match=r"missing event 10 .*; --max-bad gives the share of rows that may be left out$"
    ):
        events_of(tmp_path, table().replace("mail", ""))
    assert len(events_of(tmp_path, table().replace("mail", ""), max_bad=0.4)[1]) == 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_months_in_other_languages(tmp_path, language):
    months, form = MONTHS[language].split(), LANGUAGES[language]
    moments = [datetime(2026, 1 + i % 12, 1 + i, 8, 5 + i, tzinfo=UTC) for i in range(29)]
    texts = [form.format(day=m.day, month=months[m.month - 1], year=m.year, clock=f"{m:%H:%M}") for m in moments]
    log = "user;time;event\n" + "".join(f"u;{text};e{i}\n" for i, text in enumerate(texts))
    _, events, _ = events_of(tmp_path, log, max_bad=0)
    assert sorted(time_s for _, time_s, _ in events) == sorted(int(m.timestamp()) for m in moments)


@pytest.mark.parametrize("space", ["\u202f", "\u00a0", "\u2009"])
def test_a_narrow_space_before_am_and_pm(tmp_path, space):
    texts = [clock(f"%b %d, %Y, %I:%M:%S{space}%p")(time) for time in TIMES]
    assert events_of(tmp_path, table(texts, ";"))[1] == plain()


def test_morning_and_afternoon_in_spanish(tmp_path):
    texts = [clock("%Y/%m/%d, %I:%M:%S %p")(time).replace("AM", "a.\u00a0m.").replace("PM", "p. m.") for time in TIMES]
    assert events_of(tmp_path, table(texts, ";"))[1] == plain()


def test_a_decimal_comma_in_numbers(tmp_path):
    assert events_of(tmp_path, table([f"{time},000" for time in TIMES], ";"))[1] == plain()
    days = table([f"{time / 86400 + 25569:.8f}".replace(".", ",") for time in TIMES], ";")
    assert events_of(tmp_path, days, overwrite=True)[1] == plain()
    with pytest.raises(IngestError, match="unreadable time"):  # thousands
        events_of(tmp_path, table([f"{time:,}" for time in TIMES], ";"), overwrite=True)


def test_times_of_day_alone_need_a_date(tmp_path):
    with pytest.raises(IngestError, match=r"these are times of day, and --date names the column of dates$"):
        events_of(tmp_path, table([clock("%I:%M:%S %p")(time) for time in TIMES]))


def test_rows_of_other_lengths_than_the_header(tmp_path):
    with pytest.raises(IngestError, match=r"malformed row 30 .*; a row needs as many cells as the header$"):
        events_of(tmp_path, table().replace("mail", "mail,x").replace("maps", "maps,x").replace("chat", "chat,x"))


def clock(form):
    return lambda time_s: datetime.fromtimestamp(time_s, UTC).strftime(form)


DATES = {
    "clock with dots": (clock("%d.%m.%Y %H.%M.%S"), {"time_format": None}),
    "year, month, day of two digits": (clock("%y/%m/%d %H:%M:%S"), {}),
    "year, month, day with hyphens": (clock("%y-%m-%d %H:%M:%S"), {}),
    "Chinese": (clock("%Y年%m月%d日 %H:%M:%S"), {}),
    "Apache": (clock("%d/%b/%Y:%H:%M:%S +0000"), {}),
    "Oracle": (clock("%d-%b-%y %I.%M.%S.000000 %p"), {}),
    "underscore": (clock("%Y-%m-%d_%H:%M:%S"), {}),
    "NTP": (lambda t: t + 2_208_988_800, {}),
    "modified Julian days": (lambda t: f"{t / 86400 + 40587:.8f}", {}),
    "an old Mac, as asked for": (lambda t: t + 2_082_844_800, {"time_unit": "mac"}),
}


@pytest.mark.parametrize("name", DATES)
def test_further_forms_of_times(tmp_path, name):
    written, options = DATES[name]
    times = [written(time_s) for time_s in TIMES]
    users, events, lines = events_of(tmp_path, table(times, ";"), **options)
    assert (users, events) == (["u"], plain())
    assert any("year, month, day" in line for line in lines) == ("two digits" in name or "hyphens" in name)


def test_times_of_two_meanings_are_refused_with_both(tmp_path):
    with pytest.raises(IngestError, match=r"unix seconds 2092-.*--time-unit s\).*since 1904.*since 1900.*; say which"):
        events_of(tmp_path, table([time + 2_082_844_800 for time in TIMES]))
    days = [clock("26/%m/26 %H:%M:%S")(time) for time in TIMES]
    with pytest.raises(IngestError, match=r"the day and the year .* --time-format '%d/%m/%y %H:%M:%S' or '%y/%m/%d"):
        events_of(tmp_path, table(days))


OFFSETS = {"5.5": 330, "5,5": 330, "-3.5": -210, "5.75": 345, "05:30": 330, "5:30": 330, "05:30:00": 330}


@pytest.mark.parametrize("text", OFFSETS)
def test_further_forms_of_offsets(tmp_path, text):
    lines = table(sep=";").splitlines()
    log = "\n".join([lines[0] + ";offset", *(f"{line};{text}" for line in lines[1:])])
    _, events, said = events_of(tmp_path, log, utc_offset="offset")
    assert events == plain(OFFSETS[text])
    assert any("is read as" in line and f"{OFFSETS[text]} minutes" in line for line in said)


def test_hours_with_and_without_a_fraction_are_hours(tmp_path):
    lines = table().splitlines()
    log = "\n".join([lines[0] + ",offset", *(f"{line},{(5.5, 6, -10)[i % 3]}" for i, line in enumerate(lines[1:]))])
    _, events, _ = events_of(tmp_path, log, utc_offset="offset")
    assert [offset for *_, offset in events] == [330, 360, -600] * 10


@pytest.mark.parametrize("word", ["-", "?", "(null)", "<null>", "[NULL]", "''", "#REF!", "missing", "(blank)"])
def test_further_words_for_a_missing_cell_are_warned_about(tmp_path, word):
    text = table(users=("u", "v", word))
    users, _, lines = events_of(tmp_path, text)
    assert sorted(users) == sorted(["u", "v", word])
    assert any(f"--null {word} makes one missing" in line for line in lines)
    users, events, _ = events_of(tmp_path, text, nulls=[word], max_bad=0.5, overwrite=True)
    assert (sorted(users), len(events)) == (["u", "v"], 20)


@pytest.mark.parametrize(
    ("ids", "users"),
    [
        (("101", "101.00"), ["101"]),
        (("101", "101,0", "7"), ["101", "7"]),
        (("9007199254740993.0", "9007199254740993"), ["9007199254740993"]),
        (("007", "7"), ["007", "7"]),
        (("1.10", "1.1"), ["1.1", "1.10"]),
    ],
)
def test_further_forms_of_ids(tmp_path, ids, users):
    assert sorted(events_of(tmp_path, table(users=ids, sep=";"))[0]) == sorted(users)


def test_hidden_files_of_an_archive_are_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("__MACOSX/._log.csv", b"\0")
        archive.writestr("export/log.csv", table())
        archive.writestr("export/.DS_Store", b"\0\0")
    assert events_of(tmp_path, (tmp_path / "log.zip").read_bytes(), "log.zip")[:2] == (["u"], plain())


@pytest.mark.parametrize("magic", [b"ORC", b"Obj\x01", b"ARROW1\0\0", b"7z\xbc\xaf'\x1c\0\4"])
def test_other_formats_are_told_what_to_do(tmp_path, magic):
    with pytest.raises(IngestError, match=r"is binary; expected CSV, .*: unpack an archive, save a table in one of"):
        events_of(tmp_path, magic + bytes(100))
