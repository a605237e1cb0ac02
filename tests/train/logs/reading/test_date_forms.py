"""Dates in many forms: read as they are meant, or refused; the form is named in a message."""

from datetime import UTC, datetime, timedelta

import pytest
from logs_of_rows import EVENTS, MOMENTS, SECONDS, START, run, times_of, write_log

from edgebehave_train.logs.reading.date_forms import form_of
from edgebehave_train.logs.reading.files import IngestError


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


def test_the_order_of_day_and_month_follows_from_all_rows_or_is_asked_for(tmp_path):
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


def test_numbers_and_iso_times_need_no_form():
    assert form_of(["1772438400", "1.5e9"]) is None
    assert form_of(["2026-03-02T08:00:00Z"]) is None
    assert form_of([]) is None
