"""Appended days: the values of one ingest of everything, old ids kept."""

import os
import random
import signal

import numpy as np
import pytest

from edgebehave_train.logs import appending
from edgebehave_train.logs import ingest as ingest_module
from edgebehave_train.logs.event_store import COLUMNS, EventStore
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest

NOON = 1_400_000_000


def write_log(path, rows, header="user,time,event,place,kind"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def run(log, out, **options):
    lines = []
    columns = {"user": "user", "time": "time", "event": "event", "location": "place", "behavior": "kind"}
    ingest(IngestConfig(log=log, out=out, **columns | options), lines.append)
    return EventStore.open(out), lines


def named(store):
    """{user: events by name}."""
    return {user: list(store.named_events(i)) for i, user in enumerate(store.users())}


def random_rows(seed, days, users=range(30), ties=False, fractions=(0,)):
    rng = random.Random(seed)
    step = 3600 if ties else 1
    rows = {}
    for user in users:
        for day in days:
            for _ in range(rng.randrange(6)):
                time = NOON + 86_400 * day + rng.randrange(86_400) // step * step
                time = f"{time}.{rng.choice(fractions):06}" if len(fractions) > 1 else time
                event = f"e{rng.randrange(8 + day)}"
                row = (f"u{user}", time, event, rng.choice(["", "home", f"p{day}"]), f"k{event[-1]}")
                rows[row if ties else row[:2]] = row
    return list(rows.values())


ORDERS = {"oldest first": 1, "newest first": -1, "shuffled": 0}


def in_order(parts, order):
    """The rows of each part in an order; from the newest, the last part comes first."""
    if not ORDERS[order]:
        return [random.Random(0).sample(part, len(part)) for part in parts]
    return [sorted(part, key=lambda row: float(row[1]), reverse=order == "newest first") for part in parts][
        :: ORDERS[order]
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("num_users", "ties", "fractions"),
    [
        (30, False, (0,)),
        (30, True, (0,)),
        (30, False, (0, 250_000, 500_000)),
        (30, True, (0, 1, 999_999)),
        (1, True, (0, 1, 999_999)),
    ],
)
def test_appended_days_are_worth_one_ingest_of_everything(tmp_path, monkeypatch, num_users, ties, fractions, order):
    monkeypatch.setattr(appending, "_PIECE_EVENTS", 40 if num_users > 1 else 5)
    days = 3 if num_users > 1 else 40
    parts = [
        random_rows(
            i, range(days * i, days * i + days), range(5 * i if num_users > 1 else 0, num_users), ties, fractions
        )
        for i in range(3)
    ]
    parts = in_order(parts, order)
    whole, _ = run(write_log(tmp_path / "all.csv", [row for part in parts for row in part]), tmp_path / "whole")
    ids = {}
    for i, part in enumerate(parts):
        store, lines = run(write_log(tmp_path / "part.csv", part), tmp_path / "store", append=True)
        for kind in ("events", "locations", "behaviors"):
            names = getattr(store.vocabulary, kind)
            assert names[: len(ids.get(kind, ()))] == ids.get(kind, ())
            ids[kind] = names
        assert any(line.startswith("appended") for line in lines) == (i > 0)
    require_equal(store, whole)
    if ties:
        assert whole.statistics["order_of_ties"] == {1: "file", -1: "file, newest first", 0: "hash"}[ORDERS[order]]


def require_equal(store, whole):
    assert store.users() == whole.users()
    assert named(store) == named(whole)
    assert (store.fraction_us is None) == (whole.fraction_us is None)
    if whole.fraction_us is not None:
        assert store.fraction_us.tolist() == whole.fraction_us.tolist()
        assert store.fraction_us.stored.dtype == whole.fraction_us.stored.dtype
    assert store.statistics["event_counts"] == pytest.approx(whole.statistics["event_counts"])
    facts = ("tied_events", "order_of_ties", "num_rows", "first_time_s", "events_per_user", "duplicates")
    for fact in (*facts, "rows_in_time_order", "rows_newest_first", "has_fractions"):
        assert store.statistics[fact] == whole.statistics[fact], fact


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_any_second_and_fraction_are_appended_as_ingested(tmp_path, monkeypatch, seed):
    """Few seconds, names and fractions, in any order and any number of parts, some rows in several of them."""
    rng = random.Random(seed)
    monkeypatch.setattr(appending, "_PIECE_EVENTS", rng.choice([1, 7, 1 << 20]))
    digits = rng.choice([[0], [0, 5], [0, 123_456]])
    rows = [
        (f"u{rng.randrange(4)}", f"{NOON + rng.randrange(12)}.{rng.choice(digits):06}", f"e{rng.randrange(3)}", "", "k")
        for _ in range(60)
    ]
    if seed % 3:
        rows.sort(key=lambda row: float(row[1]), reverse=seed % 3 == 2)
    cuts = sorted(rng.sample(range(1, 60), 3))
    parts = [rows[start:stop] for start, stop in zip([0, *cuts], [*cuts, 60], strict=True)]
    whole, _ = run(write_log(tmp_path / "all.csv", rows), tmp_path / "whole")
    for part in parts:
        store, _ = run(write_log(tmp_path / "part.csv", part), tmp_path / "store", append=True)
    require_equal(store, whole)


def test_an_event_counts_once_a_second_and_another_one_takes_its_place_in_it(tmp_path):
    run(write_log(tmp_path / "old.csv", [("al", f"{NOON}.75", "e", "", "k")]), tmp_path / "store")
    store, lines = run(
        write_log(tmp_path / "new.csv", [("al", f"{NOON}.25", "e", "", "k"), ("al", f"{NOON}.5", "f", "", "k")]),
        tmp_path / "store",
        append=True,
    )
    assert [event.event for event in store.named_events(0)] == ["e", "f"]
    assert store.fraction_us.tolist() == [250_000, 500_000]
    assert any("1 were there already" in line for line in lines)


def test_late_rows_and_rows_that_are_there_already(tmp_path):
    rows = [("al", NOON + 60 * i, f"e{i % 3}", "", "k") for i in range(10)]
    run(write_log(tmp_path / "old.csv", rows[2:7]), tmp_path / "store")
    store, lines = run(write_log(tmp_path / "new.csv", rows), tmp_path / "store", append=True)
    assert [(e.time_s, e.event) for e in store.named_events(0)] == [(t, e) for _, t, e, *_ in rows]
    assert store.statistics["duplicates"] == 5
    assert any("5 were there already" in line for line in lines)


def test_a_store_of_version_1_can_be_added_to(tmp_path):
    rows = random_rows(0, range(2))
    store, _ = run(write_log(tmp_path / "old.csv", rows), tmp_path / "store")
    wide = {name: np.array(getattr(store, name), dtype) for name, dtype in COLUMNS.items()}
    for name, values in wide.items():
        np.save(tmp_path / "store" / f"{name}.npy", values)
    path = tmp_path / "store" / "statistics.json"
    new_keys = ("constants", "behavior_is_event", "rows_in_time_order", "has_fractions", "sha256", "content_sha256")
    import json

    statistics = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in statistics.items() if k not in new_keys} | {"format_version": 1}))
    more = random_rows(1, range(5, 6))
    store, _ = run(write_log(tmp_path / "new.csv", more), tmp_path / "store", append=True)
    whole, _ = run(write_log(tmp_path / "all.csv", [*rows, *more]), tmp_path / "whole")
    assert named(store) == named(whole)


def test_other_columns_are_refused(tmp_path):
    log = write_log(tmp_path / "log.csv", random_rows(0, range(2)))
    store, _ = run(log, tmp_path / "store")
    with pytest.raises(IngestError, match="was made with a column of behaviors"):
        run(log, tmp_path / "store", append=True, behavior=None)
    assert EventStore.open(tmp_path / "store").fingerprint == store.fingerprint


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("where", ["append_store", "account"])
def test_a_killed_append_leaves_the_store_and_no_readable_copy(tmp_path, monkeypatch, where):
    log = write_log(tmp_path / "log.csv", random_rows(0, range(2)))
    store, _ = run(log, tmp_path / "store")
    more = write_log(tmp_path / "more.csv", random_rows(1, range(5, 6)))
    if (child := os.fork()) == 0:
        monkeypatch.setattr(ingest_module, where, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
        run(more, tmp_path / "store", append=True, threads=1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert EventStore.open(tmp_path / "store").fingerprint == store.fingerprint
    remains = tmp_path / ".store.partial"
    assert remains.stat().st_mode & 0o777 == 0o700
    run(more, tmp_path / "store", append=True)
    assert not remains.exists()
