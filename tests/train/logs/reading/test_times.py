"""Times of many makes: each column is read as it is meant, or refused, and what was guessed is said."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from logs_of_rows import EVENTS, NOON, run, times_of, write_log

from edgebehave_train.logs.reading.date_forms import form_of
from edgebehave_train.logs.reading.files import IngestError
from edgebehave_train.logs.reading.time_units import unit_of_numbers
from edgebehave_train.logs.reading.utc_offsets import read_offsets

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MOMENTS = [START + timedelta(minutes=10 * i) for i in range(6)]
SECONDS = [int(moment.timestamp()) for moment in MOMENTS]
Y2001, Y1601 = 978_307_200, -11_644_473_600


@pytest.mark.parametrize(
    ("write", "unit"),
    [
        (lambda s: f"{s - Y2001}.25", "apple_s"),
        (lambda s: (s - Y2001) * 10**3, "apple_ms"),
        (lambda s: (s - Y2001) * 10**6, "apple_us"),
        (lambda s: (s - Y2001) * 10**9, "apple_ns"),
        (lambda s: (s - Y1601) * 10**6, "webkit"),
        (lambda s: (s - Y1601) * 10**7, "filetime"),
        (lambda s: f"{s / 86400 + 25569:.6f}", "excel"),
        (lambda s: f"{s / 86400 + 25569:.12f}", "excel"),
        (lambda s: f"{s / 86400 + 2440587.5:.8f}", "julian"),
    ],
)
def test_epochs_are_recognized_and_said(tmp_path, write, unit):
    store, statistics, lines = run(write_log(tmp_path, [write(s) for s in SECONDS]), tmp_path / "out")
    assert times_of(store) == [(s, 0) for s in SECONDS]
    assert statistics["time_unit"] == unit
    assert any(line.startswith("span: 2026-03-02 08:00 .. 2026-03-02 08:50") for line in lines)


def test_apples_seconds_on_both_sides_of_the_first_unix_times(tmp_path):
    seconds = [1_420_070_400, 1_609_000_000, 1_772_438_400]  # 2015, 2020, 2026; the first two are below 1990 as unix
    store, statistics, _ = run(write_log(tmp_path, [s - Y2001 for s in seconds]), tmp_path / "out")
    assert times_of(store) == [(s, 0) for s in seconds]
    assert statistics["time_unit"] == "apple_s"


def test_the_reading_that_was_not_taken_can_be_asked_for(tmp_path):
    path = write_log(tmp_path, [s - Y2001 for s in SECONDS])
    _, _, lines = run(path, tmp_path / "out")
    assert any("they may also be unix seconds 1995-03-02 .. 1995-03-02 (--time-unit s)" in line for line in lines)
    store, _, _ = run(path, tmp_path / "asked", time_unit="s")
    assert times_of(store) == [(s - Y2001, 0) for s in SECONDS]


def test_two_equally_likely_readings_are_refused_with_their_spans():
    ticks_2026 = 639_080_064_000_000_000  # as Apple's nanoseconds it is April 2021
    us = ticks_2026 // 1000
    with pytest.raises(IngestError, match=r"1990-.*Apple's nanoseconds since 2001 2021-.*ticks.* 2026-.*say which"):
        unit_of_numbers({"ns": (6, us, us)}, "time")
    assert unit_of_numbers({"s": (6, 1_400_000_000 * 10**6, 1_500_000_000 * 10**6)}, "time") == ("s", "")


@pytest.mark.parametrize(
    "form",
    [
        "%Y/%m/%d %H:%M:%S", "%Y.%m.%d %H:%M", "%d.%m.%Y %H:%M", "%d.%m.%y %H:%M:%S", "%d %b %Y %H:%M",
        "%d %b %Y, %H:%M", "%d-%b-%Y %H:%M:%S", "%B %d, %Y %I:%M %p", "%b %d, %Y, %I:%M:%S %p", "%b %d, %Y at %I:%M %p",
        "%a, %d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S", "%Y%m%d %H%M", "%Y%m%d%H%M",
        "%Y-%m-%d, %H:%M",
    ],
)  # fmt: skip
def test_dates_in_an_unmistakable_form(tmp_path, form):
    store, statistics, lines = run(write_log(tmp_path, [m.strftime(form) for m in MOMENTS]), tmp_path / "out")
    assert times_of(store) == [(s, 0) for s in SECONDS]
    assert statistics["time_unit"] == "iso_local"
    assert sum("dates are read as" in line and "--time-format" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("form", "offset"),
    [
        ("%Y%m%dT%H%M%SZ", 0),
        ("%a, %d %b %Y %H:%M:%S +0100", 60),
        ("%Y-%m-%dT%H:%M:%S+01:00[Europe/Berlin]", 60),
        ("%Y-%m-%dT%H:%M:%S[Europe/Berlin]", 60),
        ("%Y-%m-%d %H:%M:%S Europe/Berlin", 60),
        ("%Y-%m-%d %H:%M:%S EST", -300),
        ("%Y-%m-%d %H:%M:%S CET", 60),
        ("%d.%m.%Y %H:%M:%S -03:30", -210),
        ("%a %b %d %Y %H:%M:%S GMT+0530 (India Standard Time)", 330),
    ],
)
def test_dates_with_a_zone(tmp_path, form, offset):
    store, _, _ = run(write_log(tmp_path, [m.strftime(form) for m in MOMENTS]), tmp_path / "out")
    assert times_of(store) == [(s - 60 * offset, offset) for s in SECONDS]


@pytest.mark.parametrize("zone", ["IST", "BST", "XYZ", "Mars/Base"])
def test_a_zone_of_several_meanings_is_not_guessed(tmp_path, zone):
    path = write_log(tmp_path, [f"{m:%Y-%m-%d %H:%M:%S} {zone}" for m in MOMENTS])
    with pytest.raises(IngestError, match="unreadable time"):
        run(path, tmp_path / "out")


def test_unpadded_dates(tmp_path):
    texts = [f"{m.year}-{m.month}-{m.day} {m.hour}:{m.minute:02}" for m in MOMENTS]
    store, _, _ = run(write_log(tmp_path, texts), tmp_path / "out")
    assert times_of(store) == [(s, 0) for s in SECONDS]


def test_the_order_of_day_and_month_is_told_from_all_rows_or_asked_for(tmp_path):
    twentieth = START + timedelta(days=18)
    for name, form in (("us", "%m/%d/%Y %I:%M %p"), ("eu", "%d/%m/%y %H:%M"), ("dash", "%d-%m-%Y %H:%M")):
        path = write_log(tmp_path, [m.strftime(form) for m in (*MOMENTS[:5], twentieth)], f"{name}.csv")
        store, _, _ = run(path, tmp_path / name)
        assert times_of(store)[-1] == (int(twentieth.timestamp()), 0)
        path = write_log(tmp_path, [m.strftime(form) for m in MOMENTS], f"{name}2.csv")
        with pytest.raises(
            IngestError, match=r"cannot be told apart.*--time-format '%d.%m.%[yY] %.*' or '%m.%d"
        ) as caught:
            run(path, tmp_path / f"{name}2")
        assert repr(form) in str(caught.value)
        store, _, _ = run(path, tmp_path / f"{name}2", time_format=form)
        assert times_of(store) == [(s, 0) for s in SECONDS]


def test_midnight_and_noon_on_a_clock_of_twelve_hours(tmp_path):
    texts = ["20 Mar 2026 12:05 AM", "20 Mar 2026 12:10 pm", "20 Mar 2026 1:15 p.m."]
    store, _, _ = run(write_log(tmp_path, texts), tmp_path / "out")
    minutes = [time_s % 86400 // 60 for time_s, _ in times_of(store)]
    assert minutes == [5, 730, 795]


def test_a_format_with_an_offset_and_a_format_that_is_none(tmp_path):
    path = write_log(tmp_path, [f"{m:%d|%m|%Y %H.%M} +0530" for m in MOMENTS])
    store, _, _ = run(path, tmp_path / "out", time_format="%d|%m|%Y %H.%M %z")
    assert times_of(store) == [(s - 330 * 60, 330) for s in SECONDS]
    with pytest.raises(IngestError, match="--time-format '%Q'"):
        run(path, tmp_path / "none", time_format="%Q")
    with pytest.raises(IngestError, match=r"every row is bad.*--time-format names the form"):
        run(path, tmp_path / "auto")


def test_dates_and_clocks_in_two_columns(tmp_path):
    rows = [("u", f"{m:%m/%d/%y}", f"{m:%I:%M:%S %p}", e) for m, e in zip(MOMENTS, EVENTS, strict=True)]
    rows.append(("u", "03/20/26", "09:00:00 PM", "late"))
    path = write_log(tmp_path, rows=rows, header="user,Date,Time,event")
    store, _, _ = run(path, tmp_path / "out", date="Date", time="Time")
    assert times_of(store)[:6] == [(s, 0) for s in SECONDS]
    rows = [("u", f"{m:%Y-%m-%d} 00:00:00", f"{m:%H:%M:%S}", e) for m, e in zip(MOMENTS, EVENTS, strict=True)]
    path = write_log(tmp_path, rows=rows, header="user,Date,Time,event")
    store, _, _ = run(path, tmp_path / "iso", date="Date", time="Time", timezone="Asia/Kolkata")
    assert times_of(store) == [(s - 330 * 60, 330) for s in SECONDS]


def test_days_without_a_clock_are_refused_or_kept_whole(tmp_path):
    days = ["2026-03-01"] * 4 + ["2026-03-02"] * 4
    rows = [("u", day, event) for day, event in zip(days, "wabawaba", strict=True)]
    path = write_log(tmp_path, rows=rows)
    with pytest.raises(IngestError, match=r"holds days without a clock in 8 of 8 rows.*--date.*--days"):
        run(path, tmp_path / "out")
    store, statistics, lines = run(path, tmp_path / "out", days=True)
    assert "".join(store.vocabulary.events[e] for e in store.event) == "wabawaba"
    assert statistics["duplicates"] == 0
    assert any("8 without a clock" in line for line in lines)


@pytest.mark.parametrize("write", ["{:%Y-%m-%d} 00:00:00", "{:%d.%m.%Y}", "{:%Y%m%d}", "{0:%s}"])
def test_midnights_are_days_too(tmp_path, write):
    days = [datetime(2026, 3, 13, tzinfo=UTC) + timedelta(days=i // 3) for i in range(12)]
    texts = [str(int(d.timestamp())) if write == "{0:%s}" else write.format(d) for d in days]
    path = write_log(tmp_path, rows=[("u", text, f"e{i}") for i, text in enumerate(texts)])
    with pytest.raises(IngestError, match="days without a clock"):
        run(path, tmp_path / "out")


def test_lost_digits_are_warned_about(tmp_path):
    for texts, warned in (
        (["1.77244E+12"] * 3, True),
        (["1.77E+09"] * 3, True),
        (["1.772438400e9", "1.77243841e9"], False),
    ):
        path = write_log(tmp_path, rows=[("u", text, f"e{i}") for i, text in enumerate(texts)])
        _, _, lines = run(path, tmp_path / "out", overwrite=True)
        assert any("lost digits" in line for line in lines) is warned


# Zones and offsets


def test_a_time_zone_gives_offsets_with_daylight_saving(tmp_path):
    moments = [datetime(2026, 3, day, 7, tzinfo=UTC) for day in (28, 29)]
    path = write_log(tmp_path, [int(m.timestamp()) for m in moments])
    store, _, lines = run(path, tmp_path / "out", timezone="Europe/Berlin")
    assert times_of(store) == [(int(m.timestamp()), offset) for m, offset in zip(moments, (60, 120), strict=True)]
    assert any("local time by Europe/Berlin" in line for line in lines)
    path = write_log(tmp_path, ["2026-03-28 08:00:00", "2026-03-29 09:00:00"])
    local, _, _ = run(path, tmp_path / "local", timezone="Europe/Berlin")
    assert times_of(local) == times_of(store)


def test_a_zone_that_is_none_and_two_sources_of_offsets(tmp_path):
    path = write_log(tmp_path, SECONDS)
    with pytest.raises(IngestError, match=r"'Berlin' is no time zone; give a name as Europe/Berlin"):
        run(path, tmp_path / "out", timezone="Berlin")
    with pytest.raises(ValueError, match="timezone or utc_offset, not both"):
        run(path, tmp_path / "out", timezone="Europe/Berlin", utc_offset="offset")


@pytest.mark.parametrize(
    ("texts", "minutes"),
    [
        (["+0530", "-0500"], [330, -300]),
        (["+0300", "+0000"], [180, 0]),
        (["530", "-500"], [330, -300]),
        (["+05:30", "-5:00"], [330, -300]),
        (["UTC+5:30", "GMT-3"], [330, -180]),
        (["19800", "-18000"], [330, -300]),
        (["19800000", "0"], [330, 0]),
        (["-300", "345"], [-300, 345]),
        (["60.0", "0.0"], [60, 0]),
        (["Z", "UTC"], [0, 0]),
        (["Europe/Berlin", "Asia/Kolkata"], [60, 330]),
        (["EST", "JST"], [-300, 540]),
    ],
)
def test_offsets_of_many_forms(tmp_path, texts, minutes):
    rows = [("u", SECONDS[i], "e", text) for i, text in enumerate(texts)]
    path = write_log(tmp_path, rows=rows, header="user,time,event,tz")
    store, _, lines = run(path, tmp_path / "out", utc_offset="tz")
    assert [offset for _, offset in times_of(store)] == minutes
    plain = texts in (["-300", "345"], ["60.0", "0.0"], ["Z", "UTC"])
    assert any(line.startswith("offsets: ") for line in lines) is not plain


def test_offsets_that_fit_no_form_are_left_out():
    assert read_offsets(["+0530", "-18000", "x", "1.5", "15:00"], frozenset())[0] == {}
    assert read_offsets(["60", "+05:30"], frozenset()) == (
        {"60": 60, "+05:30": 330},
        "offsets: '+05:30' is read as 330 minutes (+05:30)",
    )


@pytest.mark.parametrize("zone", ["Europe/Berlin", "+01:00", "America/St_Johns"])
def test_the_zone_of_an_arrow_schema_is_read(zone):
    from edgebehave_train.logs.reading.arrow_schema import zones_of_schema

    assert zones_of_schema(arrow_schema_with(zone)) == {"time": zone}


def arrow_schema_with(zone):
    """A message of Arrow's format: one column `time` of microseconds in a zone."""
    import struct

    def text(value):
        data = value.encode()
        return struct.pack("<I", len(data)) + data + b"\0" * (4 - len(data) % 4)

    # Tables from the root on; each as (vtable, table) with offsets worked out below.
    out = bytearray(struct.pack("<I", 0))

    def table(fields):  # fields: {index: bytes of a scalar, or a placeholder of 4 bytes}
        size, slots, body = 4, {}, b""
        for index, value in fields.items():
            slots[index] = size
            body += value + b"\0" * (-len(value) % 4)
            size += len(value) + (-len(value) % 4)
        number = max(fields) + 1
        vtable = struct.pack("<HH", 4 + 2 * number, size)
        vtable += b"".join(struct.pack("<H", slots.get(i, 0)) for i in range(number))
        vtable += b"\0" * (-len(vtable) % 4)
        start = len(out)
        out.extend(vtable)
        at = len(out)
        out.extend(struct.pack("<i", at - start) + body)
        return at, {index: at + slot for index, slot in slots.items()}

    def point(place):
        struct.pack_into("<I", out, place, len(out) - place)

    hole = b"\0" * 4
    root, where = table({1: b"\1", 2: hole})
    struct.pack_into("<I", out, 0, root)
    schema, of_schema = table({1: hole})
    struct.pack_into("<I", out, where[2], schema - where[2])
    point(of_schema[1])
    out.extend(struct.pack("<II", 1, 0))
    element = len(out) - 4
    column, of_column = table({0: hole, 2: b"\x0a", 3: hole})
    struct.pack_into("<I", out, element, column - element)
    point(of_column[0])
    out.extend(text("time"))
    kind, of_kind = table({0: b"\2\0", 1: hole})
    struct.pack_into("<I", out, of_column[3], kind - of_column[3])
    point(of_kind[1])
    out.extend(text(zone))
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(out)) + bytes(out)


def test_a_parquet_file_keeps_its_time_zone_through_daylight_saving(tmp_path):
    import base64

    path = tmp_path / "log.parquet"
    schema = base64.b64encode(arrow_schema_with("Europe/Berlin")).decode()
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT 'u' AS "user", t::TIMESTAMPTZ AS "time", 'e' AS event FROM (VALUES
            ('2026-03-28 07:00:00+00'), ('2026-03-29 06:00:00+00')) v(t)) TO '{path}'
            (FORMAT parquet, KV_METADATA {{'ARROW:schema': '{schema}'}})"""
        )
    store, _, _ = run(path, tmp_path / "out")
    assert [offset for _, offset in times_of(store)] == [60, 120]
    texts = ["2026-03-28 08:00:00+01:00", "2026-03-29 08:00:00+02:00"]
    same, _, _ = run(write_log(tmp_path, rows=[("u", text, "e") for text in texts]), tmp_path / "same")
    assert same.fingerprint == store.fingerprint


def test_numbers_and_iso_times_need_no_form():
    assert form_of(["1772438400", "1.5e9"]) is None
    assert form_of(["2026-03-02T08:00:00Z"]) is None
    assert form_of([]) is None
    assert NOON == 1_400_000_000
