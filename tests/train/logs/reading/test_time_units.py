"""Numbers as times: the unit is recognized, or refused with the units that it may have."""

import pytest
from logs_of_rows import SECONDS, run, times_of, write_log

from edgebehave_train.logs.reading.files import IngestError
from edgebehave_train.logs.reading.time_units import unit_of_numbers

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


def test_lost_digits_are_warned_about(tmp_path):
    for texts, warned in (
        (["1.77244E+12"] * 3, True),
        (["1.77E+09"] * 3, True),
        (["1.772438400e9", "1.77243841e9"], False),
    ):
        path = write_log(tmp_path, rows=[("u", text, f"e{i}") for i, text in enumerate(texts)])
        _, _, lines = run(path, tmp_path / "out", overwrite=True)
        assert any("lost digits" in line for line in lines) is warned
