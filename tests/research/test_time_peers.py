"""Time to an accuracy, and targets per second, on a tiny log."""

import pytest

import time_peers
from time_peers import Curve, curve_of_ours, print_table, targets_per_s


def test_the_time_to_an_accuracy_is_that_of_the_first_epoch_which_has_it():
    curve = Curve(points=[(1.0, 2.0, 0.3), (2.0, 4.0, 0.5), (3.0, 6.0, 0.4)])
    assert curve.best == 0.5
    assert curve.until(0.3) == (1.0, 2.0)
    assert curve.until(0.4) == (2.0, 4.0)
    assert curve.until(0.6) is None


def test_measuring_is_not_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time_peers.time, "process_time", lambda: now[0])
    monkeypatch.setattr(time_peers.time, "monotonic", lambda: now[0])
    curve = Curve()

    def measure():
        now[0] += 100
        return 0.5

    for _ in range(2):
        now[0] += 1
        curve.epoch(measure)
    assert [cpu for cpu, _, _ in curve.points] == [1, 2]


def test_ours_is_timed_and_the_table_compares(tiny_store, recipe, tmp_path, capsys):
    curve = curve_of_ours(tiny_store, recipe(), tmp_path / "run")
    assert len(curve.points) == 2
    assert 0 < curve.points[0][0] < curve.points[1][0]
    assert 0 < curve.best < 1
    speeds = {
        name: targets_per_s(tiny_store, recipe(), 2, one_per_window=alone)
        for name, alone in (("packed", False), ("one target per window", True))
    }
    assert speeds["packed"] > speeds["one target per window"] > 0
    bar = Curve(points=[(10.0, 20.0, curve.best), (20.0, 40.0, curve.best / 2)])
    print_table({"sasrec": bar, "ours": curve, "worse": Curve(points=[(1.0, 1.0, 0.0)])}, speeds)
    out = capsys.readouterr().out
    assert "| sasrec | 10 | 20 | 1.00 |" in out
    assert "| worse | never |" in out


def test_a_peer_is_timed(tiny_store):
    pytest.importorskip("rectools", reason="peers need RecTools: make test-peers")
    curve = time_peers.curve_of_peer(tiny_store, "sasrec", time_peers.SplitConfig())
    assert 0 < curve.best < 1
