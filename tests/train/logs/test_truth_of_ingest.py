"""What an ingest must not do in silence: order of ties, missing cells, names, and the account at the end."""

import itertools
import json
import random

import duckdb
import numpy as np
import pytest
from logs_of_rows import NOON, names_of, run, write_log

from edgebehave.arguments import bounded_name
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError

NAMES = ("alpha", "bravo", "charlie", "delta")


def bursts(num_bursts=60, users=("u", "v"), seed=0):
    """Rows in time order, four events at each moment in random order."""
    rng = random.Random(seed)
    return [
        (user, NOON + 3600 * burst, name)
        for user in users
        for burst in range(num_bursts)
        for name in rng.sample(NAMES, 4)
    ]


def events_of(store, user):
    return [event for event, _ in names_of(store, store.users().index(user))]


@pytest.mark.parametrize("threads", [1, 4])
def test_ties_keep_the_order_of_a_file_in_time_order(tmp_path, threads):
    rows = bursts()
    path = write_log(tmp_path, rows=rows)
    store, statistics, lines = run(path, tmp_path / "out", threads=threads)
    for user in "uv":
        assert events_of(store, user) == [name for u, _, name in rows if u == user]
    assert (statistics["tied_events"], statistics["order_of_ties"]) == (480, "file")
    assert any(line.startswith("ties: 100.0%") and "order of the rows" in line for line in lines)
    assert "their order is that of the log's rows" in store.warning_about_ties


def test_users_may_be_mixed_and_files_many(tmp_path):
    rows = sorted(bursts(), key=lambda row: row[1])  # stable: ties keep their order
    middle = next(i for i in range(len(rows) // 2, len(rows)) if rows[i][1] != rows[i - 1][1])
    paths = [write_log(tmp_path, rows=part, name=f"{i}.csv") for i, part in enumerate((rows[:middle], rows[middle:]))]
    store, statistics, _ = run(paths, tmp_path / "out")
    assert statistics["order_of_ties"] == "file"
    assert events_of(store, "v") == [name for u, _, name in rows if u == "v"]


def test_a_file_from_the_newest_to_the_oldest_is_read_backwards(tmp_path):
    rows = bursts()
    store, statistics, _ = run(write_log(tmp_path, rows=rows[::-1]), tmp_path / "out")
    assert statistics["order_of_ties"] == "file, newest first"
    assert events_of(store, "u") == [name for u, _, name in rows if u == "u"]


def test_ties_of_a_shuffled_file_have_no_pattern_and_do_not_depend_on_the_shuffle(tmp_path):
    rows = bursts(400)
    prints = set()
    for seed in range(2):
        random.Random(seed).shuffle(rows)
        store, statistics, lines = run(write_log(tmp_path, rows=rows, name=f"{seed}.csv"), tmp_path / str(seed))
        prints.add(store.fingerprint)
    assert len(prints) == 1
    assert statistics["order_of_ties"] == "hash"
    assert any("order of a hash" in line for line in lines)
    assert "not known, that of a hash" in store.warning_about_ties
    events = events_of(store, "u")
    orders = {tuple(events[i : i + 4]) for i in range(0, len(events), 4)}
    assert orders == set(itertools.permutations(NAMES))
    share = np.mean([events[i] < events[i + 1] for i in range(0, len(events), 4)])
    assert 0.4 < share < 0.6  # 400 fair coins: .5 +- .025


def test_two_shuffles_of_a_log_without_ties_give_equal_bytes(tmp_path):
    rows = [("u", NOON + i, NAMES[i % 4]) for i in range(50)]
    for seed in range(2):
        random.Random(seed).shuffle(rows)
        _, statistics, _ = run(write_log(tmp_path, rows=rows), tmp_path / str(seed))
        assert (statistics["tied_events"], statistics["order_of_ties"]) == (0, "none")
    for file in (tmp_path / "0").iterdir():
        assert file.read_bytes() == (tmp_path / "1" / file.name).read_bytes()


def test_equal_rows_at_one_time_are_one_event_wherever_they_stand(tmp_path):
    rows = [("u", NOON, name) for name in ("b", "a", "b", "c", "a")]
    store, statistics, _ = run(write_log(tmp_path, rows=rows), tmp_path / "out")
    assert events_of(store, "u") == ["b", "a", "c"]
    assert statistics["duplicates"] == 2


def test_order_and_ties_are_found_across_runs_of_rows(tmp_path, monkeypatch):
    from edgebehave_train.logs import sorting

    rows = bursts(20)
    for rows, order in ((rows, "file"), (rows[::-1], "file, newest first"), ([*rows[40:], *rows[:40]], "hash")):  # noqa: B020 the same rows in three orders
        path = write_log(tmp_path, rows=rows)
        whole, _, _ = run(path, tmp_path / "whole", overwrite=True)
        for size in (1, 3, 4, 7):
            with monkeypatch.context() as patch:
                patch.setattr(sorting, "_GROUP_ROWS", size)
                store, statistics, _ = run(path, tmp_path / "runs", overwrite=True)
            assert statistics["order_of_ties"] == order
            assert statistics["tied_events"] == 160
            assert store.fingerprint == whole.fingerprint


def test_words_that_look_like_nothing_are_kept_with_a_warning_or_missing(tmp_path):
    words = ["nan", "None", "NULL", "\\N", "N/A", "home"]
    rows = [(f"u{i}", NOON + i, "e", word) for i, word in enumerate(words)]
    path = write_log(tmp_path, rows=rows, header="user,time,event,place")
    store, _, lines = run(path, tmp_path / "out", location="place")
    assert set(store.vocabulary.locations[1:]) == set(words)
    (warning,) = (line for line in lines if line.startswith("warning"))
    assert all(repr(word) in warning for word in words[:5])
    assert "--null" in warning
    store, statistics, lines = run(path, tmp_path / "nulls", location="place", nulls=words[:5])
    assert store.vocabulary.locations[1:] == ("home",)
    assert statistics["num_without_location"] == 5
    assert not any(line.startswith("warning") for line in lines)


def test_a_null_word_in_a_time_is_a_missing_time(tmp_path):
    path = write_log(tmp_path, rows=[("u", NOON, "e"), ("u", "NULL", "e")])
    _, statistics, _ = run(path, tmp_path / "out", nulls=["NULL"], max_bad=0.5)
    assert statistics["rejected"] == {"missing time": 1}


def test_a_real_nan_is_missing_and_whole_floats_name_integers(tmp_path):
    path = tmp_path / "log.parquet"
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT * FROM (VALUES (101::DOUBLE, {NOON}::DOUBLE, 5::DOUBLE), ('nan'::DOUBLE, {NOON}.5, 5),
            (101, {NOON + 9}, 'nan'::DOUBLE), (NULL, {NOON}, 5), (7, 'nan'::DOUBLE, 5)) v("user", "time", event))
            TO '{path}'"""
        )
    text = write_log(tmp_path, rows=[("101.0", NOON + 20, "5.0"), ("101", NOON + 30, "5")])
    store, statistics, lines = run([path, text], tmp_path / "out", max_bad=0.9)
    assert statistics["rejected"] == {"missing user": 2, "missing time": 1, "missing event": 1}
    assert store.users() == ["101"]
    assert store.vocabulary.events[1:] == ("5",)
    assert store.num_events == 3
    assert any("1.0 is read as the name 1" in line for line in lines)


def test_versions_are_no_integers(tmp_path):
    rows = [("u", NOON, "1.0"), ("u", NOON + 1, "1"), ("u", NOON + 2, "2.1")]
    store, _, _ = run(write_log(tmp_path, rows=rows), tmp_path / "out")
    assert set(store.vocabulary.events[1:]) == {"1.0", "1", "2.1"}


def test_a_long_name_is_the_one_that_the_sdk_keeps(tmp_path):
    long = ["é" * 512 + "x", "🦊" * 300, "y" * 5000]
    path = write_log(
        tmp_path,
        rows=[
            (long[0], NOON, long[1], long[2]),
            ("é" * 512, NOON + 1, "e", "p"),
            (long[0], NOON + 2, long[1], long[2]),
        ],
        header="user,time,event,place",
    )
    store, statistics, lines = run(path, tmp_path / "out", location="place")
    user, event, place = map(bounded_name, long)
    assert sorted(store.users()) == sorted(["é" * 512, user])
    assert names_of(store, store.users().index(user)) == [(event, place)] * 2
    assert statistics["rejected"] == {}
    assert any(
        line.startswith("names: 1 of events, 1 of locations, 1 of users had more than 1,024 bytes") for line in lines
    )


def test_the_account_tells_span_gap_and_busiest_hour(tmp_path):
    rows = [("u", NOON + 1200 * i, f"e{i % 3}") for i in range(4)] + [("v", NOON, "e0")]
    _, _, lines = run(write_log(tmp_path, rows=rows), tmp_path / "out", timezone="America/New_York")
    assert "span: 2014-05-13 16:53 .. 2014-05-13 17:53 UTC, 2 users" in lines
    assert "typical gap of a user: 20 min; busiest local hour: 13-14 h, 60%" in lines
    _, _, lines = run(tmp_path / "log.csv", tmp_path / "utc")
    assert any("16-17 h" in line or "17-18 h, 60% if UTC is local time; --timezone" in line for line in lines)


def test_moments_of_utc_do_not_tell_the_local_time(tmp_path):
    utc = [("u", f"2026-03-02T08:0{i}:00Z", "e") for i in range(3)]
    _, _, lines = run(write_log(tmp_path, rows=utc), tmp_path / "utc")
    assert any("all of them UTC, which is taken for local time (--timezone gives one)" in line for line in lines)
    assert any("08-09 h, 100% if UTC is local time; --timezone" in line for line in lines)
    one_offset = [*utc, ("u", "2026-03-02T09:04:00+01:00", "e")]
    for name, rows in {"offset": one_offset, "clocks": [("u", time.strip("Z"), "e") for _, time, _ in utc]}.items():
        _, _, lines = run(write_log(tmp_path, rows=rows), tmp_path / name)
        assert not any("UTC is" in line for line in lines)


def test_the_log_of_one_person_needs_no_column_of_users(tmp_path):
    path = write_log(tmp_path, rows=[(NOON + i, "e", "u") for i in range(3)], header="time,event,other")
    store, statistics, lines = run(path, tmp_path / "out", one_user="Ann")
    assert (store.users(), names_of(store)) == (["Ann"], [("e", None)] * 3)
    assert statistics["columns"] == {"time": "time", "event": "event"}
    assert any(line.startswith("3 events of 1 user, 1 event name, 1 behavior, 0 locations") for line in lines)
    with pytest.raises(IngestError, match="no column 'user'; --user names it; --one-user me for the log of one person"):
        run(path, tmp_path / "none")
    with pytest.raises(ValueError, match="give user or one_user, not both, got 'other' and 'Ann'"):
        IngestConfig(log=path, out=tmp_path / "out", user="other", one_user="Ann")
    with pytest.raises(ValueError, match="one_user must be a name"):
        IngestConfig(log=path, out=tmp_path / "out", one_user=" ")
    run(path, tmp_path / "out", one_user="Bob", append=True)
    assert sorted(EventStore.open(tmp_path / "out").users()) == ["Ann", "Bob"]


def test_the_user_of_an_export_may_have_another_name(tmp_path):
    visits = [{"title": "x", "url": "https://a.org/", "time_usec": (NOON + i) * 1_000_000} for i in range(3)]
    path = tmp_path / "History.json"
    path.write_text(json.dumps({"Browser History": visits}))
    assert run(path, tmp_path / "out")[0].users() == ["me"]
    assert run(path, tmp_path / "named", one_user="Ann")[0].users() == ["Ann"]


def test_events_that_are_json_are_warned_about(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"user": "u", "time": NOON + i, "event": {"app": "ab"[i % 2]}} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, _, lines = run(path, tmp_path / "out")
    assert any(line.startswith('warning: event names are JSON, as \'{"app":"') for line in lines)
    assert not any("are JSON" in line for line in run(path, tmp_path / "nested", event="event.app")[2])


def test_names_in_brackets_are_no_json(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"user": "u", "time": NOON + i, "event": "[Work] mail" if i % 2 else "[Home] music"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not any("are JSON" in line for line in run(path, tmp_path / "out")[2])


def test_names_that_look_equal_are_warned_about(tmp_path):
    rows = [("u", NOON, "Mail"), ("u", NOON + 1, "mail "), ("u ", NOON + 2, "chat"), ("v", NOON + 3, "chat")]
    _, _, lines = run(write_log(tmp_path, rows=rows), tmp_path / "out")
    events, users = [line for line in lines if "only in case or in blanks" in line]
    assert events.startswith("warning: 1 of the names of events")
    assert "'Mail' and 'mail '" in events
    assert users.startswith("warning: 1 of the names of users")
    assert "'u '" in users


def test_a_future_log_is_warned_about(tmp_path):
    _, _, lines = run(write_log(tmp_path, rows=[("u", 3_000_000_000, "e")]), tmp_path / "out")
    assert any("the last event lies in the future" in line for line in lines)


def test_a_store_without_the_new_statistics_opens_and_does_not_warn(tmp_path):
    _, statistics, _ = run(write_log(tmp_path, rows=bursts(3)), tmp_path / "out")
    old = {key: value for key, value in statistics.items() if key not in ("tied_events", "order_of_ties", "sha256")}
    (tmp_path / "out" / "statistics.json").write_text(json.dumps(old))
    assert EventStore.open(tmp_path / "out").warning_about_ties is None


def test_names_that_never_come_again_and_times_that_never_pass_are_warned_about(tmp_path):
    unique = [("u", NOON + i, f"title {i}") for i in range(20)]
    _, _, lines = run(write_log(tmp_path, rows=unique), tmp_path / "unique")
    assert "warning: no event name occurs twice, so none can be predicted; name a coarser column (--event)" in lines
    still = [("u", NOON, NAMES[i % 4]) for i in range(20)] + [("v", NOON, NAMES[i % 4]) for i in range(20)]
    still += [(f"w{i}", NOON, "alpha") for i in range(10)]
    _, _, lines = run(write_log(tmp_path, rows=still), tmp_path / "still")
    assert any(line.startswith("warning: all events happen at one time") for line in lines)
