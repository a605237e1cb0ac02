"""Local time: of a time zone, and of columns of offsets in many forms."""

from datetime import UTC, datetime

import pytest
from logs_of_rows import SECONDS, run, times_of, write_log

from edgebehave_train.logs.reading.files import IngestError
from edgebehave_train.logs.reading.utc_offsets import read_offsets


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
